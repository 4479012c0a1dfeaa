"""Selection by class without an objective: random, stratified, and the rarest class first."""

import numpy as np
from jaxtyping import Int64

from d3s2.selection.coverage import Coverage
from d3s2.selection.shortlist import Shortlist


def take_random(shortlist: Shortlist) -> None:
    """A uniform draw without replacement: tie order, which is random in the seed and the ids."""
    for row in np.flatnonzero(shortlist.open):
        if shortlist.full:
            return
        shortlist.offer(int(row))


def take_stratified(shortlist: Shortlist) -> None:
    """Classes take turns, from the rarest to the most common; each draws at random from the masks that cover it."""
    queues = _queues(shortlist.coverage, by_level=False)
    turns = [c for c in np.argsort(shortlist.coverage.holders, kind="stable") if shortlist.tally.objective.weights[c]]
    while turns and not shortlist.full:
        turns = [c for c in turns if _take_first(shortlist, queues[c], int(c))]
    take_random(shortlist)


def take_rarest_first(shortlist: Shortlist) -> None:
    """In each round the class with the least coverage for its weight, and the open mask that covers it most.

    A class below its quota goes before others. Of classes with equal coverage the one that fewer masks cover, then the
    lower train id; of masks that cover the class equally the one with the larger gain, then tie order.
    """
    coverage, tally = shortlist.coverage, shortlist.tally
    weights, quotas = tally.objective.weights, tally.objective.quotas
    queues = _queues(coverage, by_level=True)
    left = [c for c in range(coverage.num_classes) if weights[c] > 0 or quotas[c] > 0]
    while left and not shortlist.full:
        scarcity = [
            (
                tally.held[c] >= quotas[c],
                tally.covered[c] / weights[c] if weights[c] else np.inf,
                coverage.holders[c],
                c,
            )
            for c in left
        ]
        rarest = min(scarcity)[-1]
        queue = queues[rarest]
        queue.skip(shortlist)
        if queue.done:
            left.remove(rarest)
            continue
        equals = queue.equals(shortlist)
        shortlist.offer(int(equals[coverage.sums(tally.worth, equals).argmax()]), reason=rarest)
    take_random(shortlist)


class _Queue:
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


def _queues(coverage: Coverage, by_level: bool) -> list[_Queue]:
    """One a class."""
    rows = np.repeat(np.arange(len(coverage)), coverage.lengths)
    # 255 minus the level in the low byte: one stable sort gives classes, in them high levels first, in them tie order.
    keys = coverage.codes ^ np.uint16(255) if by_level else coverage.codes >> np.uint16(8)
    order = np.argsort(keys, kind="stable")
    ends = np.cumsum(coverage.holders)
    return [
        _Queue(rows[order[begin:end]], keys[order[begin:end]].astype(np.int64))
        for begin, end in zip(ends - coverage.holders, ends, strict=True)
    ]


def _take_first(shortlist: Shortlist, queue: _Queue, reason: int) -> bool:
    """Takes the first mask of a class that is open and not refused; False where there is none."""
    if shortlist.full:
        return False
    queue.skip(shortlist)
    while not queue.done:
        if shortlist.offer(queue.first, reason=reason):
            return True
        queue.skip(shortlist)
    return False
