"""Typed records in JSON files: what a file must hold is a type, and whatever else it holds is a sentence.

A record is a frozen dataclass with `__pydantic_config__ = RECORD`: every key known, every type its own (no number as a
text), every number finite. `Count`, `Amount` and `Share` bound the numbers. A record may carry a digest of itself, so
that a change by hand or by a failing disk is found where nothing else could tell.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from d3s2.base.errors import D3S2Error, StoreError
from d3s2.base.formats.files import read_json, sha256_text
from d3s2.base.formats.json_text import LARGEST_INTEGER, MAKE_AGAIN, shortened

RECORD = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
T = TypeVar("T")


def read_record(path: Path, kind: type[T], advice: str = MAKE_AGAIN, error: type[D3S2Error] = StoreError) -> T:
    """The record of type `kind` in a JSON file; the error names the key that is missing, unknown or wrong."""
    return record_from(read_json(path, advice, error), kind, str(path), advice, error)


def read_object(path: Path, advice: str = MAKE_AGAIN, error: type[D3S2Error] = StoreError) -> dict[str, Any]:
    """The JSON object in a file, for a reader that asks for one key or another of it."""
    return record_from(read_json(path, advice, error), dict[str, Any], str(path), advice, error)


def record_from(
    content: Any, kind: Any, where: str, advice: str = MAKE_AGAIN, error: type[D3S2Error] = StoreError
) -> Any:
    """The record of type `kind` in what was read from JSON; `where` and `advice` are for the sentence."""
    try:
        # JSON knows lists only, which a strict record takes for tuples where it is told that this is JSON.
        return _adapter(kind).validate_json(json.dumps(content), strict=True)
    except (ValidationError, RecursionError) as problem:
        raise error(f"{where}: {_first_problem(problem)}; {advice}.") from None


def own_digest(content: Mapping[str, Any], *without: str) -> str:
    """The SHA-256 of a JSON object without some entries, one of which is where it keeps this digest."""
    rest = {name: value for name, value in content.items() if name not in without}
    return sha256_text(json.dumps(rest, sort_keys=True, separators=(",", ":")))


@lru_cache(maxsize=64)
def _adapter(kind: Any) -> Any:
    return TypeAdapter(kind)


def _first_problem(problem: Exception) -> str:
    if not isinstance(problem, ValidationError):
        return "is nested too deeply"
    first = problem.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    found = "" if first["type"] in ("missing", "unexpected_keyword_argument") else f", got {_shown(first['input'])}"
    return f"{f'key {shortened(key)!r}: ' if key else ''}{shortened(first['msg']).lower()}{found}"


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return shortened(repr(value), 60)
