"""Choices by name: the error for an unknown name lists the known ones and the nearest."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from d3s2.base.errors import UsageError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name closest to `name` in spelling, or None when nothing is near.

    Args:
        cutoff: how near, 0..1 (`difflib.SequenceMatcher.ratio`).
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return matches[0] if matches else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """What stands behind a sentence that refuses a name: the nearest known one as a question, or nothing."""
    hint = nearest(name, known, cutoff)
    return f" Did you mean '{hint}'?" if hint else ""


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """`table[name]`; raises UsageError that lists the names, for example of `what` 'sampler'."""
    if name in table:
        return table[name]
    raise UsageError(f"Unknown {what} '{name}': known are {', '.join(sorted(table))}.{did_you_mean(name, table)}")
