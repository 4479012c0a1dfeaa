"""Herding: the mean of the chosen ones stays close to the mean of all.

Source: Rebuffi et al., iCaRL (CVPR 2017).
"""

import numpy as np

from d3s2.selection.features import DECIMALS
from d3s2.selection.shortlist import Shortlist


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
