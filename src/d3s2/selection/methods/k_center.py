"""k-center: the mask farthest from all chosen ones.

Source: Sener and Savarese, Active learning for convolutional neural networks: a core-set approach (ICLR 2018).
"""

import numpy as np
from jaxtyping import Float32, Float64

from d3s2.selection.features import DECIMALS
from d3s2.selection.shortlist import Shortlist


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
