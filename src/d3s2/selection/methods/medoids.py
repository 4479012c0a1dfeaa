"""Medoids of clusters: as many clusters as masks to choose, and of each the mask nearest to its centre.

Masks stand in tie order, which is random in the seed and the ids, so that another seed begins its clusters elsewhere.

Source: arXiv 2501.07681 (DDOQ), which quantises latents of images by clusters and keeps what is nearest to each centre.
"""

from collections.abc import Iterator

import numpy as np

from d3s2.selection.clusters import clusters_of
from d3s2.selection.features import DECIMALS
from d3s2.selection.shortlist import Shortlist


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


def _take_next(shortlist: Shortlist, rows: Iterator[int]) -> None:
    """Offers the rows in turn until one is taken."""
    for row in rows:
        if shortlist.open[row] and shortlist.offer(row):
            return
