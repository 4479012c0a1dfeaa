"""Clusters of feature vectors by k-means, begun by k-means++ with one fixed sequence of random numbers.

Source: Arthur and Vassilvitskii, k-means++ (SODA 2007).
"""

import warnings

import numpy as np
from jaxtyping import Float64, Int64
from scipy.cluster.vq import kmeans2, vq

NUM_ITERATIONS = 50


def clusters_of(
    features: Float64[np.ndarray, "n d"], num_clusters: int
) -> tuple[Float64[np.ndarray, "k d"], Int64[np.ndarray, " n"]]:
    """Centres of k-means and the cluster of each vector; fewer clusters where fewer vectors differ."""
    begin = features[first_centres(features, num_clusters)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster that lost its members: it keeps its centre
        centres, _ = kmeans2(features, begin, iter=NUM_ITERATIONS, minit="matrix", missing="warn")
    return centres, vq(features, centres)[0].astype(np.int64)


def first_centres(features: Float64[np.ndarray, "n d"], num_clusters: int) -> list[int]:
    """k-means++: each next one is drawn with the square of its distance to those before as its chance."""
    rng = np.random.default_rng(0)
    rows = [int(rng.integers(len(features)))]
    gaps = np.square(features - features[rows[0]]).sum(axis=1)
    while len(rows) < num_clusters and gaps.any():
        ends = np.cumsum(gaps)
        rows.append(min(int(np.searchsorted(ends, rng.random() * ends[-1], side="right")), len(gaps) - 1))
        gaps = np.minimum(gaps, np.square(features - features[rows[-1]]).sum(axis=1))
    return rows
