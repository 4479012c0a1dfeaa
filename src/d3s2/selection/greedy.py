"""Greedy maximisation, three ways to one answer: plain, lazy, and fast for millions of masks.

In each round the mask with the largest gain is taken; of equals, the one that comes first in tie order. Gains are whole
numbers and never grow, so the three agree pick for pick.

Source of lazy evaluation: Minoux, Accelerated greedy algorithms for maximizing submodular set functions (1978).
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import Int64, UInt16
from numpy.typing import NDArray

from d3s2.selection.coverage import Coverage
from d3s2.selection.shortlist import Shortlist

MIN_WINDOW = 512


def greedy_plain(shortlist: Shortlist) -> None:
    """The definition: every gain anew in every round."""
    coverage, tally = shortlist.coverage, shortlist.tally
    while not shortlist.full and shortlist.open.any():
        gains = np.where(shortlist.open, coverage.sums(tally.worth), -1)
        shortlist.offer(int(gains.argmax()), explain=True)


def greedy_lazy(shortlist: Shortlist) -> None:
    """The textbook's lazy evaluation: a heap of old gains, each of them an upper bound."""
    coverage, tally = shortlist.coverage, shortlist.tally
    heap = [(-int(gain), row) for row, gain in enumerate(coverage.sums(tally.worth)) if shortlist.open[row]]
    heapq.heapify(heap)
    while heap and not shortlist.full:
        row = heap[0][1]
        fresh = (-int(tally.worth[coverage.row(row)].sum()), row)
        heapq.heapreplace(heap, fresh)
        if heap[0] == fresh:
            heapq.heappop(heap)
            shortlist.offer(row, explain=True)


def greedy_fast(shortlist: Shortlist, window_size: int | None = None) -> None:
    """Lazy evaluation in bulk: all gains now and then, those of a small window in each round.

    The window holds the masks with the largest gains when all were last computed. Gains only fall, so as long as
    the best of the window, at its gain of now, is ahead of the best outside, at its gain of then, it is the best of
    all. Masks that cover the same classes to the same level stand in the window as one.

    Args:
        shortlist: what to choose from.
        window_size: 1 or more, decides the speed and never the answer; default: 2 sqrt(masks), at least 512.
    """
    equals = _equal_masks_of(shortlist)
    size = window_size or max(MIN_WINDOW, 2 * isqrt(len(equals.heads)))
    while not shortlist.full and (equals.heads < len(shortlist.coverage)).any():
        _take_from_window(shortlist, equals, _widest(shortlist, equals, size))


GREEDY: dict[str, Callable[[Shortlist], None]] = {"fast": greedy_fast, "lazy": greedy_lazy, "plain": greedy_plain}


@dataclass(frozen=True)
class _EqualMasks:
    """The masks that can be taken, those with equal codes as one group.

    Args:
        coverage: a row a group.
        members: masks, group by group, in tie order within a group.
        ends: group g has its last member before ends[g].
        cursors: where in `members` the next of each group is.
        heads: the next member itself; the number of all masks where a group is used up.
    """

    coverage: Coverage
    members: Int64[np.ndarray, " r"]
    ends: Int64[np.ndarray, " g"]
    cursors: Int64[np.ndarray, " g"]
    heads: Int64[np.ndarray, " g"]

    def advance(self, group: int, none: int) -> None:
        self.cursors[group] += 1
        left = self.cursors[group] < self.ends[group]
        self.heads[group] = self.members[self.cursors[group]] if left else none


@dataclass(frozen=True)
class _Window:
    """Some groups, with their codes in columns (padded with code 0, worth nothing), and the best of all others."""

    groups: Int64[np.ndarray, " w"]
    codes: UInt16[np.ndarray, "m w"]
    gain_outside: int
    head_outside: int


def _equal_masks_of(shortlist: Shortlist) -> _EqualMasks:
    coverage, rows = shortlist.coverage, np.flatnonzero(shortlist.open)
    members, begins = _grouped(coverage, rows)
    ends = np.append(begins, len(members))[1:]
    heads = members[begins]
    whole = len(heads) == len(coverage)
    return _EqualMasks(coverage if whole else coverage.subset(heads), members, ends, begins, heads)


def _grouped(coverage: Coverage, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The masks `rows` rearranged so that those with equal codes are neighbours, and where each group begins."""
    alone = rows, np.arange(len(rows))
    # Equal codes have equal fingerprints: sums of one random number a code.
    numbers = np.random.Generator(np.random.PCG64(0)).integers(-(2**63), 2**63 - 1, coverage.num_classes * 256)
    prints = coverage.sums(numbers, rows)
    order = np.argsort(prints, kind="stable")
    fresh = np.append(True, prints[order[1:]] != prints[order[:-1]])[: len(rows)]
    if fresh.all():
        return alone
    members, begins = rows[order], np.flatnonzero(fresh)
    twins = np.flatnonzero(~fresh)
    first = members[begins[np.cumsum(fresh) - 1]]
    same = _equal_codes(coverage, members[twins], first[twins])
    return (members, begins) if same else alone


def _equal_codes(coverage: Coverage, these: NDArray[np.int64], those: NDArray[np.int64]) -> bool:
    if (coverage.lengths[these] != coverage.lengths[those]).any():
        return False
    return bool((coverage.subset(these).codes == coverage.subset(those).codes).all())


def _widest(shortlist: Shortlist, equals: _EqualMasks, window_size: int) -> _Window:
    """All gains anew: the window of the largest, by gain and then tie order."""
    bounds = equals.coverage.sums(shortlist.tally.worth)
    bounds[equals.heads == len(shortlist.coverage)] = -1
    size = min(len(bounds), window_size)
    limit = np.partition(bounds, len(bounds) - size)[len(bounds) - size]
    above, level = np.flatnonzero(bounds > limit), np.flatnonzero(bounds == limit)
    level = level[np.argsort(equals.heads[level])]
    groups = np.concatenate([above, level[: size - len(above)]])
    bounds[groups] = -1
    gain_outside = int(bounds.max())
    lengths = equals.coverage.lengths[groups]
    codes = np.zeros((int(lengths.max(initial=1)), size), dtype=np.uint16)
    block = equals.coverage.subset(groups)
    column = np.repeat(np.arange(size), lengths)
    codes[np.arange(len(column)) - block.starts[column], column] = block.codes
    return _Window(groups, codes, gain_outside, int(equals.heads[bounds == gain_outside].min()))


def _take_from_window(shortlist: Shortlist, equals: _EqualMasks, window: _Window) -> None:
    """Takes from the window until a mask outside it could be as good."""
    worth, none = shortlist.tally.worth, len(shortlist.coverage)
    heads = equals.heads[window.groups]
    while not shortlist.full:
        gains = worth[window.codes].sum(axis=0)
        gains[heads == none] = -1
        best = int(gains.max())
        tied = np.flatnonzero(gains == best)
        here = int(tied[heads[tied].argmin()])
        if best < 0 or (best, -heads[here]) < (window.gain_outside, -window.head_outside):
            return
        shortlist.offer(int(heads[here]), explain=True)
        equals.advance(int(window.groups[here]), none)
        heads[here] = equals.heads[window.groups[here]]
