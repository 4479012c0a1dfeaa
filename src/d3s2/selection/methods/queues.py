"""The masks that cover a class, the best first: what methods that go class by class take from."""

import numpy as np
from jaxtyping import Int64

from d3s2.selection.coverage import Coverage
from d3s2.selection.shortlist import Shortlist


class Queue:
    """The masks that cover one class, the best first, and how far they are used up.

    Args:
        rows: positions in tie order.
        levels: coverage of the class; of masks with one level, tie order decides.
    """

    def __init__(self, rows: Int64[np.ndarray, " m"], levels: Int64[np.ndarray, " m"]) -> None:
        self._rows = rows
        self._level_ends = np.append(np.flatnonzero(np.diff(levels)) + 1, len(rows))
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next >= len(self._rows)

    @property
    def first(self) -> int:
        return int(self._rows[self._next])

    def skip(self, shortlist: Shortlist) -> None:
        """Passes by the masks that are not open."""
        while not self.done and not shortlist.open[self.first]:
            self._next += 1

    def equals(self, shortlist: Shortlist) -> Int64[np.ndarray, " e"]:
        """The open masks with the level of the first."""
        end = self._level_ends[np.searchsorted(self._level_ends, self._next, side="right")]
        rows = self._rows[self._next : end]
        return rows[shortlist.open[rows]]


def queues_of(coverage: Coverage, by_level: bool) -> list[Queue]:
    """One a class."""
    rows = np.repeat(np.arange(len(coverage)), coverage.lengths)
    # 255 minus the level in the low byte: one stable sort gives classes, in them high levels first, in them tie order.
    keys = coverage.codes ^ np.uint16(255) if by_level else coverage.codes >> np.uint16(8)
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(coverage.holders)
    return [
        Queue(rows[order[begin:end]], keys[order[begin:end]].astype(np.int64))
        for begin, end in zip(ends - coverage.holders, ends, strict=True)
    ]
