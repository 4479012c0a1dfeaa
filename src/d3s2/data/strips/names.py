"""Names of composed pairs and of strips; no id of a data set holds the sign between their parts."""

from collections.abc import Sequence

SIGN = "|"


def composed_id(sources: Sequence[str]) -> str:
    """The name of a pair that is put together of strips of `sources`, from left to right."""
    return SIGN.join(sources)


def sources_of(item_id: str) -> tuple[str, ...]:
    """The pairs that a pair is put together of, from left to right: one where it is a pair of the data set."""
    return tuple(item_id.split(SIGN))


def strip_id(item_id: str, position: int) -> str:
    """The name of one strip of a pair; positions count from the left, from 0."""
    return f"{item_id}{SIGN}{position}"


def place_of(strip: str) -> tuple[str, int]:
    """(pair, position) of a strip."""
    source, _, position = strip.rpartition(SIGN)
    return source, int(position)
