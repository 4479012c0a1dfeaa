"""Coverage: how much each mask holds of each class, packed so that millions of masks fit and sums are exact.

| variable | symbol | meaning |
|---|---|---|
| pixels | p[i, c] | pixels of class c in mask i |
| share | s[i, c] | p[i, c] / pixels of mask i |
| typical | t_c | mean of s[i, c] over the masks that cover c |
| relative | r[i, c] | s[i, c] / t_c: 1 for a mask that holds as much of c as masks with c usually do |
| level | v[i, c] | coverage, a whole number of 32nds |
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8, UInt16
from numpy.typing import NDArray

from d3s2.base.errors import DataError
from d3s2.base.names import choose
from d3s2.data.census import MaskCensus

UNIT = 32
"""Levels that make a coverage of 1."""

MAX_LEVEL = 255
BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class Coverage:
    """The coverage v[i, c] of masks, row by row: one code (256 * class + level) for each class that a mask covers.

    Args:
        codes: of all masks, one mask after the other, by class within a mask.
        starts: mask i has the codes from starts[i] to starts[i + 1].
        num_classes: 1 to 255.
    """

    codes: UInt16[np.ndarray, " e"]
    starts: Int64[np.ndarray, " b"]
    num_classes: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, position: int) -> UInt16[np.ndarray, " m"]:
        """The codes of one mask."""
        return self.codes[self.starts[position] : self.starts[position + 1]]

    @cached_property
    def lengths(self) -> Int64[np.ndarray, " n"]:
        """Classes that each mask covers."""
        return np.diff(self.starts)

    @cached_property
    def holders(self) -> Int64[np.ndarray, " c"]:
        """Masks that cover each class."""
        counted = np.bincount(self.codes, minlength=self.num_classes * 256).astype(np.int64)
        return counted.reshape(self.num_classes, 256).sum(axis=1)

    def sums(
        self, worth: Int64[np.ndarray, " k"], rows: Int64[np.ndarray, " r"] | None = None
    ) -> Int64[np.ndarray, " m"]:
        """For each mask (of `rows`, or all) the sum of worth[code]: whole numbers, so the same in any order."""
        num_rows = len(self) if rows is None else len(rows)
        total = np.zeros(num_rows, dtype=np.int64)
        for begin in range(0, num_rows, BLOCK_ROWS):
            end = min(begin + BLOCK_ROWS, num_rows)
            codes, offsets = self._block(np.arange(begin, end) if rows is None else rows[begin:end], rows is None)
            # The zero at the end gives masks without a code, which reduceat knows not of, a place to point at.
            values = np.zeros(len(codes) + 1, dtype=np.int64)
            np.take(worth, codes, out=values[:-1], mode="clip")
            total[begin:end] = np.add.reduceat(values, offsets[:-1])
            total[begin:end][np.diff(offsets) == 0] = 0
        return total

    def subset(self, rows: Int64[np.ndarray, " r"]) -> "Coverage":
        """The coverage of the masks `rows`, in that order."""
        starts = np.concatenate([[0], np.cumsum(self.lengths[rows])])
        codes = np.empty(starts[-1], dtype=np.uint16)
        for begin in range(0, len(rows), BLOCK_ROWS):
            end = min(begin + BLOCK_ROWS, len(rows))
            codes[starts[begin] : starts[end]], _ = self._block(rows[begin:end], neighbours=False)
        return Coverage(codes, starts, self.num_classes)

    def _block(self, rows: NDArray[np.int64], neighbours: bool) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
        """The codes of some masks and where each mask starts in them."""
        if neighbours:
            offsets = self.starts[rows[0] : rows[-1] + 2]
            return self.codes[offsets[0] : offsets[-1]], offsets - offsets[0]
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        where = np.arange(offsets[-1]) + np.repeat(self.starts[rows] - offsets[:-1], lengths)
        return self.codes[where], offsets


def _present(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones_like(relative)


def _mixed(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + relative / (1.0 + relative)


def _mass(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    return relative


COVERAGES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "presence": _present,  # 1 for every mask that holds the class
    "mixed": _mixed,  # 1/2 for being there, r / (1 + r) for how much: 1 at the typical share, never above 3/2
    "mass": _mass,  # r, at most 255/32
}


def tie_order(ids: Sequence[str], seed: int) -> Int64[np.ndarray, " n"]:
    """The order in which equals are taken: by SHA-256 of (seed, id), whatever the order of `ids`.

    Raises:
        DataError: an id that two masks have.
    """
    prefix = f"{seed}\x1f"
    digests = b"".join([sha256((prefix + item_id).encode()).digest()[:8] for item_id in ids])
    keys = np.frombuffer(digests, dtype=">u8").astype(np.uint64)
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    if (ranked[1:] == ranked[:-1]).any():
        order = np.array(sorted(range(len(ids)), key=lambda i: (int(keys[i]), ids[i])), dtype=np.int64)
        for here, there in pairwise(order):
            if ids[here] == ids[there]:
                raise DataError(f"Census: id '{ids[here]}' is given to two masks, expected one; rename one of them.")
    return order.astype(np.int64)


def cover(census: MaskCensus, order: Int64[np.ndarray, " n"], kind: str, min_pixels: int) -> Coverage:
    """The coverage of the masks of `census`, rearranged by `order`.

    Args:
        census: pixel counts p[i, c].
        order: position in the result -> position in the census.
        kind: 'presence', 'mass' or 'mixed', see COVERAGES.
        min_pixels: a mask covers the classes of which it holds at least so many pixels (and at least one).

    Raises:
        UsageError: an unknown kind.
    """
    curve = choose(COVERAGES, kind, "coverage")
    typical = _typical_shares(census, order, min_pixels)
    codes, lengths = [np.zeros(0, dtype=np.uint16)], [np.zeros(1, dtype=np.int64)]
    for num_rows, rows, classes, shares in _covered_shares(census, order, min_pixels):
        level = np.rint(UNIT * curve(shares / typical[classes])).clip(1, MAX_LEVEL)
        codes.append(classes.astype(np.uint16) * np.uint16(256) + level.astype(np.uint16))
        lengths.append(np.bincount(rows, minlength=num_rows).astype(np.int64))
    return Coverage(np.concatenate(codes), np.cumsum(np.concatenate(lengths)), census.num_classes)


def _typical_shares(census: MaskCensus, order: NDArray[np.int64], min_pixels: int) -> Float64[np.ndarray, " c"]:
    total, count = np.zeros(census.num_classes), np.zeros(census.num_classes)
    for _, _, classes, shares in _covered_shares(census, order, min_pixels):
        total += np.bincount(classes, weights=shares, minlength=census.num_classes)
        count += np.bincount(classes, minlength=census.num_classes)
    return total / np.maximum(count, 1)


def _covered_shares(
    census: MaskCensus, order: NDArray[np.int64], min_pixels: int
) -> Iterator[tuple[int, NDArray[Any], NDArray[Any], NDArray[np.float64]]]:
    """Block by block: the number of masks; and for each class that a mask covers the mask, the class, the share."""
    for begin in range(0, len(order), BLOCK_ROWS):
        some = order[begin : begin + BLOCK_ROWS]
        block = census.pixels[some]
        block.sort_indices()
        rows = np.repeat(np.arange(len(some)), np.diff(block.indptr))
        shares = block.data / census.mask_px[some].astype(np.float64)[rows]
        kept = block.data >= max(1, min_pixels)
        yield len(some), rows[kept], block.indices[kept], shares[kept]


def levels_of(codes: UInt16[np.ndarray, " e"]) -> UInt8[np.ndarray, " e"]:
    """The levels in codes."""
    return (codes & np.uint16(255)).astype(np.uint8)


def classes_of(codes: UInt16[np.ndarray, " e"]) -> Int64[np.ndarray, " e"]:
    """The classes in codes."""
    return (codes >> np.uint16(8)).astype(np.int64)
