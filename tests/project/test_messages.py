"""Every flag, key and command that a text of the package names exists: in errors, help, progress and docstrings."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from textwrap import indent
from typing import Any, get_origin

import pytest
import yaml
from typer.main import get_command

from d3s2.base.config import Config, build, read_yaml
from d3s2.commands import app
from d3s2.generator.kinds import LIGHT
from d3s2.pipeline.config import RunConfig
from d3s2.teacher.settings import ENERGIES

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "d3s2"
MODULES = sorted(SOURCE.rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(SOURCE.rglob("*.yaml"))]
SPEAKS_OF = {"pipeline/ablate.py": "ablate", "pipeline/variants.py": "ablate", "planning/doctor.py": "doctor"}
"""Modules that only one command runs; what they say need not name it."""

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OTHER_PROGRAM = re.compile(r"((hf download|git clone|ray start)| --include ).*")
KEY = re.compile(r"(?<![\w./:-])(data|select|teacher|generator|synthesize|evaluate|guidance)((?:\.[a-z][a-z_-]*)+)")
CALL = re.compile(r"(?:`|^ {4,}|^# +|\A)d3s2 ([a-z]+)([^`\n]*)", re.MULTILINE)
FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
ENDINGS = ("py", "yaml", "md", "guide")
METAPHORS = re.compile(
    r"\b(doors?|corridors?|lessons?|sittings?|mend(ed|s)?|gone on with|go(es)? on (with|from)|(is|are) not whole"
    r"|whole or not|the first process|map of the house|staircase)\b"
)
"""What the field calls otherwise: command line, pipeline, training batch, resume, correct, incomplete, main process."""


def texts(module: Path) -> Iterator[str]:
    """The string literals of a module; `{}` stands for what an f-string puts in."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


@cache
def flags_of() -> dict[str, set[str]]:
    """Command -> its flags."""
    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = {name: {flag for param in one.params for flag in param.opts} for name, one in commands.items()}
    return {name: flags | {"--help"} for name, flags in found.items()}


def wrong_flags(text: str, speaks_of: str | None) -> list[str]:
    """Flags that the command which a text speaks of does not have; of any run, those of `d3s2 distill`."""
    text = "\n".join(OTHER_PROGRAM.sub("", line) for line in text.splitlines())
    named = [speaks_of] if speaks_of else [name for name, _ in CALL.findall(text)] + ["distill"]
    known = {flag for name in named for flag in flags_of().get(name, ())}
    return [flag for flag in FLAG.findall(text) if flag != text and flag not in known]


def wrong_calls(text: str) -> list[str]:
    """Calls of a command that is not there, or with a flag that it does not have."""
    wrong = []
    for name, rest in CALL.findall(text):
        known = flags_of().get(name)
        wrong += [f"d3s2 {name}"] if known is None else []
        wrong += [f"d3s2 {name} {flag}" for flag in FLAG.findall(rest) if flag not in (known or ())]
    return wrong


def wrong_keys(text: str) -> list[str]:
    """Dotted keys that no run file can have."""
    found = [(first, rest.strip(".").split(".")) for first, rest in KEY.findall(text)]
    full = [["synthesize", first, *rest] if first == "guidance" else [first, *rest] for first, rest in found]
    return [".".join(parts) for parts in full if parts[-1] not in ENDINGS and not is_key(RunConfig, parts)]


def is_key(annotation: Any, parts: list[str]) -> bool:
    """Whether a value of this type can have something at the path `parts`."""
    if not parts:
        return True
    if isinstance(annotation, type) and issubclass(annotation, Config):
        if parts[0] == "generator" and annotation is RunConfig:
            return any(is_key(record, parts[1:]) for record in LIGHT.values())
        field = annotation.model_fields.get(parts[0])
        if parts[0] == "energies" and len(parts) > 1:
            return len(parts) == 2 and parts[1] in ENERGIES
        return field is not None and is_key(field.annotation, parts[1:])
    if get_origin(annotation) in (dict, Mapping):
        return True
    return any(is_key(inner, parts) for inner in getattr(annotation, "__args__", ()))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_names_flags_keys_and_commands_that_exist(module: Path) -> None:
    speaks_of = SPEAKS_OF.get(str(module.relative_to(SOURCE)))
    wrong = [
        found
        for text in texts(module)
        for found in [*wrong_flags(text, speaks_of), *wrong_calls(text), *wrong_keys(text)]
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_keys_and_commands_that_exist(page: Path) -> None:
    text = FENCE.sub(
        lambda fence: "" if fence[1] == "python" else indent(fence[2], "    "), page.read_text(encoding="utf-8")
    )
    assert not [*wrong_calls(text), *wrong_keys(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_files_and_objects_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link}
    assert not {link for link in links if not (page.parent / link).exists()}
    named = set(re.findall(r"`(?:src/d3s2/|d3s2/)?([a-z_]+(?:/[a-z_0-9]+)+\.py)`", text))
    assert not {name for name in named if not any((root / name).exists() for root in (SOURCE, ROOT))}
    imports = re.findall(r"^ *from (d3s2[\w.]*) import ([\w, ]+)$", text, re.MULTILINE)
    objects = [(module, name) for module, names in imports for name in names.split(", ")]
    objects += [tuple(path.rsplit(".", 1)) for path in re.findall(r"`(d3s2(?:\.\w+){2,})`", text)]
    assert not [f"{module}.{name}" for module, name in objects if not is_object(module, name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_run_files_on_a_page_build(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    scenes = read_yaml(SOURCE / "recipes" / "scenes.yaml")
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        values = yaml.safe_load(block) if language == "yaml" else {}
        if set(values) <= set(RunConfig.model_fields):
            named = {key: {**scenes[key], **own} if key != "generator" else own for key, own in values.items()}
            build(RunConfig, {**scenes, **named}, page.name)


def is_object(module: str, name: str) -> bool:
    """Whether a module of the package has such an attribute or submodule."""
    return hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None


@pytest.mark.parametrize("page", [*PAGES, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_use_the_words_of_the_field(page: Path) -> None:
    if "known" not in page.parts:  # classes of data sets: doors are some
        assert not METAPHORS.search(page.read_text(encoding="utf-8"))


def test_where_a_renamed_key_went_exists() -> None:
    records = [RunConfig]
    for record in records:
        fields = [field.annotation for field in record.model_fields.values()]
        inner = [*LIGHT.values()] if record is RunConfig else []
        records += [one for one in [*inner, *map(record_in, fields)] if one is not None and one not in records]
        for old, now in record.renamed.items():
            assert old not in record.model_fields
            assert is_key(record, now.split(".") if now else []), f"{record.__name__}: {old} -> {now}"
    assert sum(len(record.renamed) for record in records) > 10


def record_in(annotation: Any) -> type[Config] | None:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return next((found for inner in getattr(annotation, "__args__", ()) if (found := record_in(inner))), None)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("leave them out with --skip-bad", ["--skip-bad"]),
        ("give its root (--root FOLDER)", ["--root"]),
        ("give its root (--root FOLDER of `d3s2 doctor`)", []),
        ("set synthesize.judge.eta, or synthesize.eta", ["synthesize.judge.eta"]),
        ("lower generator.fit.warmup_steps or generator.tune.batch", ["generator.tune.batch"]),
        ("`d3s2 distil` or `d3s2 export --slice`", ["d3s2 distil", "d3s2 export --slice", "--slice"]),
        ("synthesize.guidance.energies.features=0, guidance.energies.l_feat", ["synthesize.guidance.energies.l_feat"]),
        ("hf download {} --local-dir FOLDER", []),
    ],
)
def test_what_does_not_exist_is_found(text: str, wrong: list[str]) -> None:
    assert sorted([*wrong_flags(text, None), *wrong_calls(text), *wrong_keys(text)]) == sorted(wrong)
