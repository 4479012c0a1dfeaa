"""A student's record is believed only where it is whole, unchanged, and that of the student that was asked for."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_json
from d3s2.evaluation.student_records import Expected, StudentRecord, digest_of, read_record, write_record

DEPENDS = {
    "pairs": "some",
    "test": "others",
    "seed": 0,
    "size": [4, 5],
    "devices": 1,
    "protocol": {"iterations": 3, "lr": 0.002, "precision": "float32"},
}
EXPECTED = Expected("random", "compact-unet", DEPENDS, 5, (12, 8))
RECORD = StudentRecord(
    set_name="random",
    student="compact-unet",
    seed=0,
    digest=digest_of(DEPENDS),
    depends=DEPENDS,
    items=5,
    bytes=1234,
    iterations=3,
    confusion=[[9, 3], [6, 2]],
    boundary=[[2, 1], [4, 3], [3, 3]],
    wall_s=1.5,
    peak_memory_gib=0.5,
    early={"1": 0.25},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_record(tmp_path / "one.json", RECORD)
    return tmp_path / "one.json"


def test_what_was_written_is_read(path: Path) -> None:
    assert read_record(path, EXPECTED) == RECORD


def test_one_edited_to_be_perfect_is_refused_and_left_where_it_is(path: Path) -> None:
    content = json.loads(path.read_text())
    write_json(path, content | {"confusion": [[12, 0], [0, 8]]})
    edited = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"one\.json: was changed after it was written.*delete it to have this student"
    ):
        read_record(path, EXPECTED)
    assert path.read_bytes() == edited


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        ("test", "other masks"),
        ("pairs", "other"),
        ("devices", 2),
        ("protocol", {"iterations": 3, "lr": 0.002, "precision": "bfloat16"}),
    ],
)
def test_the_record_of_another_student_under_this_name_is_refused(path: Path, key: str, value: Any) -> None:
    depends = DEPENDS | {key: value}
    seed = depends["seed"]
    assert isinstance(seed, int)
    write_record(path, replace(RECORD, depends=depends, digest=digest_of(depends), seed=seed))
    with pytest.raises(StoreError, match=rf"is the record of another student than was asked for \(other {key}\)"):
        read_record(path, EXPECTED)


def test_another_set_or_network_under_this_name_is_refused(path: Path) -> None:
    write_record(path, replace(RECORD, set_name="all", student="segformer-b0"))
    with pytest.raises(StoreError, match=r"of another student than was asked for \(other set, student\)"):
        read_record(path, EXPECTED)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"confusion": [[12, 0], [0, 9]]}, "it scores 21 px and the test split has 20 px, class by class"),
        ({"confusion": [[12, 0]]}, "its counts 'confusion' are not 2 rows of 2 classes"),
        ({"confusion": [[12], [8]]}, "its counts 'confusion' are not 2 rows of 2 classes"),
        ({"confusion": [[15, -3], [6, 2]]}, "its counts 'confusion' hold a number that is no count of pixels"),
        ({"boundary": [[2, 1], [4, 3]]}, "its counts 'boundary' are not 3 rows of 2 classes"),
        ({"boundary": [[4, 1], [4, 3], [3, 3]]}, "more pixels near contours are shared than there are"),
        ({"items": 6}, "it learnt from 6 pairs and the set has 5"),
        ({"early": {"1": 1.5}}, "its early scores are not shares by number of iterations"),
        ({"early": {"one": 0.5}}, "its early scores are not shares by number of iterations"),
        ({"digest": "0" * 64}, "contradicts itself: its digest or seed"),
        ({"seed": 3}, "contradicts itself: its digest or seed"),
    ],
)
def test_numbers_that_cannot_be_are_named_whoever_wrote_the_checksum(
    path: Path, change: dict[str, Any], sentence: str
) -> None:
    write_record(path, replace(RECORD, **change))
    with pytest.raises(StoreError) as refused:
        read_record(path, EXPECTED)
    assert str(refused.value).startswith(f"{path}: {sentence}")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: [],
        lambda content: None,
        lambda content: content | {"confusion": [["a"]]},
        lambda content: content | {"confusion": None},
        lambda content: content | {"bytes": "many"},
        lambda content: content | {"more": 1},
        lambda content: content | {"depends": []},
        lambda content: {key: value for key, value in content.items() if key != "boundary"},
        lambda content: {key: value for key, value in content.items() if key != "checksum"},
    ],
)
def test_what_is_no_record_is_a_sentence(path: Path, spoil: Callable[[dict[str, Any]], Any]) -> None:
    write_json(path, spoil(json.loads(path.read_text())))
    with pytest.raises(StoreError, match=r"one\.json: .*; put the original back, or delete it to have this student"):
        read_record(path, EXPECTED)


def test_the_checksum_is_of_everything_but_itself(path: Path) -> None:
    assert json.loads(path.read_text()) == asdict(RECORD) | {"checksum": digest_of(asdict(RECORD))}
