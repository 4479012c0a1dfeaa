"""What JSON and YAML from a file may hold, and the sentence for what they may not."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from d3s2.base.config import Config, build, read_yaml, with_overrides
from d3s2.base.errors import ConfigError, StoreError
from d3s2.base.formats.files import read_json
from d3s2.base.formats.records import RECORD, Count, Share, own_digest, read_record
from d3s2.base.formats.yaml_text import parse_yaml


@dataclass(frozen=True)
class Shape:
    __pydantic_config__ = RECORD

    sides: tuple[Count, ...]
    filled: Share


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": 1e999}', "1e999 is no number that fits a float"),
        ('{"a": 9223372036854775808}', "9223372036854775808 is beyond 64 bits"),
        ('{"a": ' + "9" * 5000 + "}", "beyond 64 bits"),
        ('{"a": 1, "a": 2}', "key 'a' is there twice"),
        ("[" * 66 + "]" * 66, "nested deeper than 64 levels"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('["\\ud800"]', "surrogates not allowed"),
    ],
)
def test_json_that_d3s2_never_writes_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError, match=r"a\.json: cannot be read \(.*; delete it to have it made again\.") as caught:
        read_json(tmp_path / "a.json")
    assert reason in str(caught.value)


def test_json_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'"\xe4"')
    with pytest.raises(StoreError, match="line 1 is not UTF-8"):
        read_json(tmp_path / "a.json")


def test_a_record_is_read_into_its_type(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"sides": [3, 4], "filled": 1}')
    assert read_record(tmp_path / "a.json", Shape) == Shape((3, 4), 1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "input should be an object, got a list of 0"),
        ("null", "input should be an object, got None"),
        ('{"sides": [3]}', "key 'filled': field required"),
        ('{"sides": [3], "filled": 0, "colour": 1}', "key 'colour': unexpected keyword argument"),
        ('{"sides": ["3"], "filled": 0}', "key 'sides.0': input should be a valid integer, got '3'"),
        ('{"sides": [-1], "filled": 0}', "key 'sides.0': input should be greater than or equal to 0, got -1"),
        ('{"sides": [true], "filled": 0}', "key 'sides.0': input should be a valid integer, got True"),
        ('{"sides": [3], "filled": 1.5}', "key 'filled': input should be less than or equal to 1, got 1.5"),
    ],
)
def test_a_record_of_another_shape_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        read_record(tmp_path / "a.json", Shape, "measure again")
    assert str(caught.value) == f"{tmp_path}/a.json: {problem}; measure again."


def test_the_own_digest_covers_all_but_its_own_entry() -> None:
    content = {"b": [1, {"c": None}], "a": "x"}
    digest = own_digest(content, "sha256")
    assert own_digest({"sha256": digest, "a": "x", "b": [1, {"c": None}]}, "sha256") == digest
    assert own_digest({**content, "a": "y"}, "sha256") != digest
    assert own_digest(json.loads(json.dumps(content)), "sha256") == digest


LAUGHS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, "it stands for more than 100,000 values once its aliases are followed"),
        ("a: &x {b: 1}\nc: {<<: [*x, *x]}\nc: 2", "key 'c' is there twice"),
        ("[" * 200 + "]" * 200, "it is nested deeper than 64 levels"),
        ("\n".join(" " * n + "a:" for n in range(200)), "it is nested deeper than 64 levels"),
        ("a: &x [*x]", "alias *x names nothing that is complete before it"),
        ("a: &x [1]\nb: &y [*x, *x]\n" + "c: [" * 62 + "*y" + "]" * 62, "it is nested deeper than 64 levels"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: 0x" + "f" * 5000, "a number is beyond 64 bits"),
        ("a: !!binary aGk=", "it uses the tag tag:yaml.org,2002:binary, expected plain values"),
        ("a: !!python/object:os.system {}", "it uses the tag tag:yaml.org,2002:python/object:os.system"),
        ("a: !!bool maybe", "'maybe'"),
        ("{[1]: 2}", "unhashable key"),
        ('a: "\\ud800"', "surrogates not allowed"),
        ("a" * (1 << 21), "it has 2,097,152 characters, expected at most 1,048,576"),
    ],
)
def test_yaml_that_no_person_writes_is_named(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_aliases_and_merges_may_be_used() -> None:
    assert parse_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\ne: *x") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 3},
        "e": {"b": 1, "c": 2},
    }


class Settings(Config):
    rate: float = 1.0


def test_a_run_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(LAUGHS)
    with pytest.raises(ConfigError, match=r"run\.yaml: cannot be read as YAML: it stands for more than"):
        read_yaml(path)
    path.write_bytes("name: Straße".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"run\.yaml: line 1 is not UTF-8"):
        read_yaml(path)


def test_deep_overrides_are_named() -> None:
    with pytest.raises(ConfigError, match="names a key of more than 64 parts"):
        with_overrides({}, [".".join("a" * 10_000) + "=1"])
    with pytest.raises(ConfigError, match="the value cannot be read as YAML: it is nested deeper"):
        with_overrides({}, ["a=" + "[" * 10_000])


def test_a_number_that_is_not_finite_is_no_setting() -> None:
    with pytest.raises(ConfigError, match="Key 'rate': input should be a finite number, got inf"):
        build(Settings, {"rate": float("inf")}, "run.yaml")
