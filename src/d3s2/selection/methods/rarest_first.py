"""The rarest class first."""

import numpy as np

from d3s2.selection.methods.queues import queues_of
from d3s2.selection.methods.random_draw import take_random
from d3s2.selection.shortlist import Shortlist


def take_rarest_first(shortlist: Shortlist) -> None:
    """In each round the class with the least coverage for its weight, and the open mask that covers it most.

    A class below its quota goes before others. Of classes with equal coverage the one that fewer masks cover, then the
    lower train id; of masks that cover the class equally the one with the larger gain, then tie order.
    """
    coverage, tally = shortlist.coverage, shortlist.tally
    weights, quotas = tally.objective.weights, tally.objective.quotas
    queues = queues_of(coverage, by_level=True)
    left = [c for c in range(coverage.num_classes) if weights[c] > 0 or quotas[c] > 0]
    while left and not shortlist.full:
        scarcity = [
            (
                tally.held[c] >= quotas[c],
                tally.covered[c] / weights[c] if weights[c] else np.inf,
                coverage.holders[c],
                c,
            )
            for c in left
        ]
        rarest = min(scarcity)[-1]
        queue = queues[rarest]
        queue.skip(shortlist)
        if queue.done:
            left.remove(rarest)
            continue
        equals = queue.equals(shortlist)
        shortlist.offer(int(equals[coverage.sums(tally.worth, equals).argmax()]), reason=rarest)
    take_random(shortlist)
