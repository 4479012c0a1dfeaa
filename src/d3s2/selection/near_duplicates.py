"""Near-duplicates: masks that say what a chosen mask has said already."""

import numpy as np
from jaxtyping import Float64, UInt8

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.census import MaskCensus


class NearDuplicates:
    """Remembers the chosen masks and refuses others that are nearly the same.

    Two masks are near-duplicates where their layouts agree on at least `threshold` of the cells that either labels, or
    where their sizes and pixel counts are equal. Compared only when a mask is about to be chosen.

    Args:
        census: with layouts.
        num_masks: how many will be chosen at most.
        threshold: share of cells, above 0 and at most 1.

    Raises:
        UsageError: a threshold outside its range, or a census without layouts.
    """

    def __init__(self, census: MaskCensus, num_masks: int, threshold: float) -> None:
        if not 0 < threshold <= 1:
            raise UsageError(f"near_duplicates is {threshold}, expected a share above 0 and at most 1; try 0.9.")
        if census.layouts is None:
            raise UsageError(
                "near_duplicates: the census holds no layouts to compare; take the census with layouts, or leave "
                "near_duplicates out."
            )
        self._census = census
        self._layouts = census.layouts
        self._threshold = threshold
        self._chosen = np.zeros((num_masks, census.layouts.shape[1]), dtype=np.uint8)
        self._num_chosen = 0
        self._counts: set[tuple[int, bytes, bytes]] = set()

    def refuses(self, row: int) -> bool:
        """Whether a chosen mask is nearly the mask at `row` of the census."""
        if self._counts_of(row) in self._counts:
            return True
        agreement = layout_agreement(self._chosen[: self._num_chosen], self._layouts[row])
        return bool((agreement >= self._threshold).any())

    def remember(self, row: int) -> None:
        """The mask at `row` of the census has been chosen."""
        self._counts.add(self._counts_of(row))
        self._chosen[self._num_chosen] = self._layouts[row]
        self._num_chosen += 1

    def _counts_of(self, row: int) -> tuple[int, bytes, bytes]:
        pixels = self._census.pixels
        here = slice(pixels.indptr[row], pixels.indptr[row + 1])
        held = pixels.data[here] > 0
        classes, counts = pixels.indices[here][held], pixels.data[here][held]
        order = np.argsort(classes)
        return int(self._census.mask_px[row]), classes[order].tobytes(), counts[order].tobytes()


def layout_agreement(layouts: UInt8[np.ndarray, "k g"], layout: UInt8[np.ndarray, " g"]) -> Float64[np.ndarray, " k"]:
    """For each of `layouts`: of the cells that it or `layout` labels, the share on which they agree; else 0."""
    labelled = (layouts != IGNORE) | (layout != IGNORE)
    agreed = (layouts == layout) & labelled
    return agreed.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1)
