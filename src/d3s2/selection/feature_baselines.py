"""Selection on feature vectors, which knows no classes: k-center, herding, facility location.

Sources: Sener and Savarese, Active learning for convolutional neural networks: a core-set approach (ICLR 2018), for
k-center; Rebuffi et al., iCaRL (CVPR 2017), for herding; Mirzasoleiman et al., Coresets for data-efficient training of
machine learning models (ICML 2020), for facility location.

Distances are rounded before they are compared, so that the last bits of a matrix product decide nothing.
"""

import heapq

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from d3s2.data.census import MaskCensus
from d3s2.selection.shortlist import Shortlist

DECIMALS = 5
GAIN_DECIMALS = 3
BLOCK_ROWS = 1024
NUM_REPRESENTED = 4096
"""Facility location represents so many masks at most, the first in tie order, which is a random sample."""


def census_features(census: MaskCensus, order: NDArray[np.int64]) -> Float32[np.ndarray, "n c"]:
    """The default feature: square roots of class shares, whose inner product is the overlap of two histograms."""
    shares = census.pixels[order].toarray().astype(np.float32)
    shares /= np.maximum(census.mask_px[order], 1).astype(np.float32)[:, None]
    return np.sqrt(shares)


def take_k_center(shortlist: Shortlist) -> None:
    """Begins at the mask nearest to the mean; then always the mask farthest from all chosen ones."""
    features = shortlist.features
    squares = np.square(features).sum(axis=1)

    def distances(point: Float32[np.ndarray, " d"]) -> Float64[np.ndarray, " n"]:
        """Squared, to all masks."""
        gaps = squares - 2 * (features @ point) + np.square(point).sum()
        return np.round(gaps, DECIMALS).astype(np.float64)

    nearest = np.full(len(features), np.inf)
    for row in shortlist.chosen:
        nearest = np.minimum(nearest, distances(features[row]))
    while not shortlist.full and shortlist.open.any():
        score = nearest if shortlist.chosen else -distances(features.mean(axis=0))
        row = int(np.where(shortlist.open, score, -np.inf).argmax())
        if shortlist.offer(row):
            nearest = np.minimum(nearest, distances(features[row]))


def take_herding(shortlist: Shortlist) -> None:
    """Always the mask that brings the mean of the chosen ones closest to the mean of all."""
    features = shortlist.features
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    squares = np.square(features).sum(axis=1)
    total = features[shortlist.chosen].sum(axis=0)
    while not shortlist.full and shortlist.open.any():
        # |(total + x) / m - mean|^2 without what is the same for every x.
        gap = total - (len(shortlist.chosen) + 1) * mean
        score = np.round(squares + 2 * (features @ gap), DECIMALS)
        row = int(np.where(shortlist.open, score, np.inf).argmin())
        if shortlist.offer(row):
            total = total + features[row]


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
