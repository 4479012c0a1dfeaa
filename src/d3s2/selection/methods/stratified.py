"""Classes take turns, and draw at random from the masks that cover them."""

import numpy as np

from d3s2.selection.methods.queues import Queue, queues_of
from d3s2.selection.methods.random_draw import take_random
from d3s2.selection.shortlist import Shortlist


def take_stratified(shortlist: Shortlist) -> None:
    """Classes take turns, from the rarest to the most common; each draws at random from the masks that cover it."""
    queues = queues_of(shortlist.coverage, by_level=False)
    turns = [c for c in np.argsort(shortlist.coverage.holders, kind="stable") if shortlist.tally.objective.weights[c]]
    while turns and not shortlist.full:
        turns = [c for c in turns if _take_first(shortlist, queues[c], int(c))]
    take_random(shortlist)


def _take_first(shortlist: Shortlist, queue: Queue, reason: int) -> bool:
    """Takes the first mask of a class that is open and not refused; False where there is none."""
    if shortlist.full:
        return False
    queue.skip(shortlist)
    while not queue.done:
        if shortlist.offer(queue.first, reason=reason):
            return True
        queue.skip(shortlist)
    return False
