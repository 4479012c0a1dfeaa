"""Medoids of clusters: as many clusters as masks to choose, and of each the mask nearest to its centre.

Clusters are those of k-means, begun by k-means++ with one fixed sequence of random numbers: masks stand in tie order,
which is random in the seed and the ids, so that another seed begins elsewhere.

Sources: Arthur and Vassilvitskii, k-means++ (SODA 2007); arXiv 2501.07681 (DDOQ), which quantises latents of images by
clusters and keeps what is nearest to each centre.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64
from scipy.cluster.vq import kmeans2, vq

from d3s2.selection.features import DECIMALS
from d3s2.selection.shortlist import Shortlist

NUM_ITERATIONS = 50


def take_medoids(shortlist: Shortlist) -> None:
    """From the largest cluster to the smallest, the open mask nearest to its centre; in rounds until enough are taken.

    Masks of the cluster itself go before those of others, which are taken where it has no open one.
    """
    features = shortlist.features.astype(np.float64)
    wanted = shortlist.num_masks - len(shortlist.picks)
    if wanted < 1:
        return
    centres, members = clusters_of(features, wanted)
    sizes = np.bincount(members, minlength=len(centres))
    turns = []
    for cluster in np.argsort(-sizes, kind="stable"):
        distances = np.round(np.square(features - centres[cluster]).sum(axis=1), DECIMALS)
        turns.append(iter(np.lexsort((distances, members != cluster)).tolist()))
    while not shortlist.full and shortlist.open.any():
        for rows in turns:
            if not shortlist.full:
                _take_next(shortlist, rows)


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


def _take_next(shortlist: Shortlist, rows: Iterator[int]) -> None:
    """Offers the rows in turn until one is taken."""
    for row in rows:
        if shortlist.open[row] and shortlist.offer(row):
            return
