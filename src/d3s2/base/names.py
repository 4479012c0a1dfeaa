"""Choices by name: the error for an unknown name lists the known ones and the nearest."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from d3s2.base.errors import UsageError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name` in spelling, or None when nothing is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def choose(table: Mapping[str, T], name: str, what: str) -> T:
    """`table[name]`; raises UsageError that lists the names, for example of `what` 'sampler'."""
    if name in table:
        return table[name]
    hint = nearest(name, table)
    suggestion = f" Did you mean '{hint}'?" if hint else ""
    raise UsageError(f"Unknown {what} '{name}': known are {', '.join(sorted(table))}.{suggestion}")
