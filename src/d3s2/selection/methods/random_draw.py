"""A uniform draw."""

import numpy as np

from d3s2.selection.shortlist import Shortlist


def take_random(shortlist: Shortlist) -> None:
    """A uniform draw without replacement: tie order, which is random in the seed and the ids."""
    for row in np.flatnonzero(shortlist.open):
        if shortlist.full:
            return
        shortlist.offer(int(row))
