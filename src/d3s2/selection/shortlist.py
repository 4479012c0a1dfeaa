"""Shortlist: the masks chosen so far, and those that may still be. What every method writes to.

All masks stand in tie order: of two that a method finds equal, it takes the one with the lower position.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt16

from d3s2.data.census import MaskCensus
from d3s2.selection.coverage import Coverage, classes_of
from d3s2.selection.near_duplicates import NearDuplicates
from d3s2.selection.objectives import ONE, LogCoverage, Tally
from d3s2.selection.picks import Pick


class Shortlist:
    """A selection in the making.

    Args:
        census: what is chosen from.
        order: tie order, position here -> position in the census.
        coverage: v[i, c], in tie order.
        objective: what covering is worth.
        open_masks: in tie order, the masks that may be chosen.
        num_masks: how many to choose.
        near_duplicates: refuses masks; None refuses none.
        features: makes the feature vectors, in tie order, for the methods that want them.
    """

    def __init__(
        self,
        census: MaskCensus,
        order: Int64[np.ndarray, " n"],
        coverage: Coverage,
        objective: LogCoverage,
        open_masks: Bool[np.ndarray, " n"],
        num_masks: int,
        near_duplicates: NearDuplicates | None,
        features: Callable[[], Float32[np.ndarray, "n d"]],
    ) -> None:
        self.coverage = coverage
        self.tally = Tally(objective)
        self.open = open_masks
        self.chosen: list[int] = []
        self.picks: list[Pick] = []
        self.num_refused = 0
        self.num_masks = num_masks
        self._census = census
        self._order = order
        self._near_duplicates = near_duplicates
        self._make_features = features

    @property
    def full(self) -> bool:
        """Whether as many are chosen as were asked for."""
        return len(self.picks) >= self.num_masks

    @cached_property
    def features(self) -> Float32[np.ndarray, "n d"]:
        """A vector for each mask."""
        return self._make_features()

    def offer(self, row: int, *, reason: int | None = None, explain: bool = False, forced: bool = False) -> bool:
        """Takes the mask at `row`, or refuses it as a near-duplicate; it is not open afterwards.

        Args:
            row: position in tie order.
            reason: the class that it is taken for.
            explain: finds that class: one below its quota before others, then the one with the largest term of the
                gain, of equals the one that fewer masks cover, then the lower train id.
            forced: takes it in any case.

        Returns:
            Whether it was taken.
        """
        self.open[row] = False
        position = int(self._order[row])
        if self._near_duplicates is not None:
            if not forced and self._near_duplicates.refuses(position):
                self.num_refused += 1
                return False
            self._near_duplicates.remember(position)
        codes = self.coverage.row(row)
        terms = self.tally.gains(codes)
        if explain:
            reason = self._reason(codes)
        name = None if reason is None else self._census.class_names[reason]
        self.picks.append(Pick(self._census.ids[position], name, int(terms.sum()) / ONE))
        self.chosen.append(row)
        self.tally.take(codes)
        return True

    def _reason(self, codes: UInt16[np.ndarray, " m"]) -> int | None:
        worth, classes = self.tally.worth[codes], classes_of(codes)
        if not worth.any():
            return None
        return int(classes[np.lexsort((classes, self.coverage.holders[classes], -worth))[0]])
