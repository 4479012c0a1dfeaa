"""Masks that are put together: strips are chosen as masks are, one position after the other, and paired at their seams.

| variable | meaning |
|---|---|
| K | masks to be made |
| n | strips of a mask |
| seam[i, j] | share of the rows where the class left of the seam (strip i) is another than right of it (strip j) |

At position p the method chooses K strips of that position among all, given those of the positions before: what they
cover is covered. Neighbours are then paired so that the sum of seam[i, j] is least (Hungarian method).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.optimize import linear_sum_assignment

from d3s2.data.strips import composed_id, place_of, strip_id
from d3s2.selection.picks import Pick, Selection

Choose = Callable[[int, tuple[str, ...], tuple[str, ...], bool], Selection]
"""(number of strips, those that are in already, those that must not be, whether it is the last call) -> the choice."""


def compose_masks(
    ids: Sequence[str],
    num_masks: int,
    num_strips: int,
    choose: Choose,
    edges: Callable[[str, int], tuple[UInt8[np.ndarray, " h"], UInt8[np.ndarray, " h"]]],
    settings: Mapping[str, Any],
) -> Selection:
    """Masks of strips, each called by its sources (`composed_id`).

    Args:
        ids: of the pairs, strips of which are called 'id|position'.
        num_masks: K.
        num_strips: n, 2 at least.
        choose: a method over the census of strips.
        edges: (id, position) -> classes of the leftmost and rightmost column of a strip.
        settings: kept in the record.

    Returns: in the order in which the leftmost strips were taken; a mask's reason is its first strip's, its gain the
        sum of theirs.
    """
    taken: tuple[str, ...] = ()
    columns: list[list[Pick]] = []
    for position in range(num_strips):
        elsewhere = (strip_id(one, other) for other in range(num_strips) if other != position for one in ids)
        held = set(taken)
        forbidden = tuple(one for one in elsewhere if one not in held)
        chosen = choose(num_masks * (position + 1), taken, forbidden, position == num_strips - 1)
        columns.append(list(chosen.picks[len(taken) :]))
        taken = chosen.ids
    rows = [[pick] for pick in columns[0]]
    for position in range(1, num_strips):
        right_edges = [edges(place_of(row[-1].item_id)[0], position - 1)[1] for row in rows]
        left_edges = [edges(place_of(pick.item_id)[0], position)[0] for pick in columns[position]]
        _, order = linear_sum_assignment(_seams(right_edges, left_edges))
        for row, index in zip(rows, order, strict=True):
            row.append(columns[position][int(index)])
    picks = tuple(
        Pick(
            composed_id([place_of(pick.item_id)[0] for pick in row]),
            row[0].reason_class,
            sum(pick.gain for pick in row),
        )
        for row in rows
    )
    return Selection(chosen.method, {**settings, "strips": num_strips}, picks, chosen.empty_classes, chosen.value)


def _seams(
    left: Sequence[UInt8[np.ndarray, " h"]], right: Sequence[UInt8[np.ndarray, " h"]]
) -> Float64[np.ndarray, "i j"]:
    return (np.stack(left)[:, None] != np.stack(right)[None]).mean(axis=2)
