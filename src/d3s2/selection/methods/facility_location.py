"""Facility location: every mask has a chosen one that is like it.

Source: Mirzasoleiman et al., Coresets for data-efficient training of machine learning models (ICML 2020).
"""

import heapq

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from d3s2.selection.shortlist import Shortlist

GAIN_DECIMALS = 3
BLOCK_ROWS = 1024
NUM_REPRESENTED = 4096
"""So many masks are represented at most, the first in tie order, which is a random sample."""


def take_facility_location(shortlist: Shortlist) -> None:
    """Greedy for the sum, over the masks to represent, of (1 + cosine) / 2 with the closest chosen mask."""
    features = shortlist.features
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    represented = np.ascontiguousarray(unit[:NUM_REPRESENTED].T)
    best = np.zeros(represented.shape[1])
    for row in shortlist.chosen:
        best = np.maximum(best, _similarities(unit[row], represented))
    bounds = _first_bounds(unit, represented, best)
    heap = [(-float(bounds[row]), int(row)) for row in np.flatnonzero(shortlist.open)]
    heapq.heapify(heap)
    while heap and not shortlist.full:
        row = heap[0][1]
        similar = _similarities(unit[row], represented)
        fresh = (-float(np.maximum(similar - best, 0).sum().round(GAIN_DECIMALS)), row)
        heapq.heapreplace(heap, fresh)
        if heap[0] == fresh:
            heapq.heappop(heap)
            if shortlist.offer(row):
                best = np.maximum(best, similar)


def _first_bounds(
    unit: Float32[np.ndarray, "n d"], represented: Float32[np.ndarray, "d r"], best: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, " n"]:
    """The gains of all masks in blocks, and a little more: a bound must not lie below the gain for its last bits."""
    bounds = np.empty(len(unit))
    for begin in range(0, len(unit), BLOCK_ROWS):
        similar = (1 + unit[begin : begin + BLOCK_ROWS] @ represented) / 2
        similar -= best.astype(np.float32)
        bounds[begin : begin + BLOCK_ROWS] = np.maximum(similar, 0, out=similar).sum(axis=1)
    return bounds * (1 + 1e-5) + 0.01


def _similarities(unit: Float32[np.ndarray, " d"], represented: Float32[np.ndarray, "d r"]) -> NDArray[np.float64]:
    return ((1 + unit @ represented) / 2).astype(np.float64)
