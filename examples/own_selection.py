"""A selection method of one's own: the masks that show the most classes.

    PYTHONPATH=examples d3s2 select scenes select.method=own_selection:most_classes --explain

A method offers masks, by their position in tie order, until the shortlist is full; it may read `shortlist.coverage`
(what each mask covers), `shortlist.tally` (what the chosen ones do) and `shortlist.features`.
"""

import numpy as np

from d3s2.selection import Shortlist


def most_classes(shortlist: Shortlist) -> None:
    """Masks with more classes first; of equals the one that tie order has first."""
    for row in np.argsort(-shortlist.coverage.lengths, kind="stable"):
        if shortlist.full:
            return
        if shortlist.open[row]:  # not forbidden, and not taken already
            shortlist.offer(int(row), explain=True)
