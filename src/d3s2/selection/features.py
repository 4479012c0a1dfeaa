"""Feature vectors of masks, for the methods that know no classes.

Distances are rounded before they are compared, so that the last bits of a matrix product decide nothing.
"""

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from d3s2.data.census import MaskCensus

DECIMALS = 5


def census_features(census: MaskCensus, order: NDArray[np.int64]) -> Float32[np.ndarray, "n c"]:
    """The default feature: square roots of class shares, whose inner product is the overlap of two histograms."""
    shares = census.pixels[order].toarray().astype(np.float32)
    shares /= np.maximum(census.mask_px[order], 1).astype(np.float32)[:, None]
    return np.sqrt(shares)
