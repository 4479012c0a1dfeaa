"""Tables of settings on the pages of this folder, made from the records that read a run file.

A page holds a table between `<!-- settings:KEY -->` and `<!-- /settings -->`, where KEY is a key of a run file; of the
kinds of generators `generator[KIND]` names one. `python docs/settings_tables.py` writes all of them anew; a test fails
where a page and a record differ.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from d3s2.base.config import Config
from d3s2.generator.kinds import LIGHT
from d3s2.pipeline.config import RunConfig

FOLDER = Path(__file__).resolve().parent
BLOCK = re.compile(r"<!-- settings:(\S+) -->\n.*?<!-- /settings -->", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may hold a table."""
    return sorted(FOLDER.glob("*.md"))


def filled(text: str) -> str:
    """A page with its tables made anew."""
    return BLOCK.sub(lambda found: f"<!-- settings:{found[1]} -->\n{table(found[1])}<!-- /settings -->", text)


def table(key: str) -> str:
    """Key, default and meaning of each field below `key`, as Markdown."""
    kind = re.search(r"\[(\w+)\]", key)
    plain = re.sub(r"\[\w+\]", "", key)
    title = f"`{plain}`" + (f" of `{kind[1]}`" if kind else "")
    rows = (f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows_of(record_at(key)))
    return "\n".join((f"| key of {title} | default | meaning |", "|---|---|---|", *rows, ""))


def record_at(key: str) -> type[Config]:
    """The record that a key of a run file is read into; `generator[KIND]` is that of one kind of generators."""
    here: type[Config] = RunConfig
    for part in key.split("."):
        name, _, kind = part.rstrip("]").partition("[")
        inner = LIGHT[kind] if kind else record_in(here.model_fields[name].annotation)
        assert inner is not None, f"{key} is no record"
        here = inner
    return here


def record_in(annotation: Any) -> type[Config] | None:
    """The record that a field holds, if it holds one (or a list of them, or none)."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return next((found for inner in get_args(annotation) if (found := record_in(inner))), None)


def rows_of(record: type[Config], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name below the table's key, default and meaning; inner records are spelled out, but for those with own tables."""
    for name, field in record.model_fields.items():
        inner, meaning = record_in(field.annotation), meaning_of(record, name)
        if inner is None or inner in records_of_tables() or not isinstance(field.default, inner):
            yield f"{prefix}{name}", default_of(field), meaning + choices_of(field, meaning)
        else:
            if meaning:
                yield f"{prefix}{name}", "", meaning
            yield from rows_of(inner, f"{prefix}{name}.")


@cache
def records_of_tables() -> frozenset[type[Config]]:
    """Records that have a table on some page."""
    return frozenset(record_at(key) for page in pages() for key in BLOCK.findall(page.read_text(encoding="utf-8")))


def default_of(field: FieldInfo) -> str:
    """A field's default as YAML has it; empty where a value must be given, or where a record with defaults stands."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Config):
        return ""
    return f"`{as_yaml(value)}`"


def as_yaml(value: Any) -> str:
    """A value on one line, the way one writes it in a run file."""
    if isinstance(value, Config):
        value = value.model_dump(exclude_defaults=True)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(one)}" for key, one in value.items()) + "}"
    return yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()


def choices_of(field: FieldInfo, meaning: str) -> str:
    """What a field of few values may be, unless its meaning names all of them."""
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    named = all(re.search(rf"\b{value}\b", meaning) for value in values)
    return "" if named else f" One of {', '.join(f'`{value}`' for value in values)}."


@cache
def meanings_in(record: type) -> dict[str, str]:
    """Field -> the docstring below it, of one class without its bases."""
    (body,) = ast.parse(inspect.getsource(record)).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            line = " ".join(text.split()).replace("|", "\\|")
            found[field.target.id] = re.sub(r"docs/([\w-]+)\.md", r"[\1.md](\1.md)", line)
    return found


def meaning_of(record: type[Config], name: str) -> str:
    """The docstring of a field, from the nearest class that has one."""
    classes = (one for one in record.__mro__ if issubclass(one, Config) and one is not Config)
    return next((text for one in classes if (text := meanings_in(one).get(name))), "")


if __name__ == "__main__":
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")
