"""Several data sets of one label space as one."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from d3s2.data.dataset import SegmentationDataset, read_pair
from d3s2.data.label_space import LabelSpace


@dataclass(frozen=True)
class JoinedDataset:
    """Chosen pairs of several data sets, one set behind the other; ids are 'number of the set/id'.

    Args:
        members: each data set, and the ids of it that are in.
    """

    members: tuple[tuple[SegmentationDataset, tuple[str, ...]], ...]

    @property
    def name(self) -> str:
        return "+".join(dataset.name for dataset, _ in self.members)

    @property
    def space(self) -> LabelSpace:
        return self.members[0][0].space

    @cached_property
    def _places(self) -> dict[str, tuple[SegmentationDataset, str]]:
        return {
            f"{number}/{item_id}": (dataset, item_id)
            for number, (dataset, ids) in enumerate(self.members)
            for item_id in ids
        }

    @property
    def ids(self) -> Sequence[str]:
        return tuple(self._places)

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        dataset, own = self._places[item_id]
        return dataset.image(own)

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        dataset, own = self._places[item_id]
        return dataset.mask(own)

    def pair(self, item_id: str) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        dataset, own = self._places[item_id]
        return read_pair(dataset, own)

    def pair_stamp(self, item_id: str) -> str:
        dataset, own = self._places[item_id]
        return dataset.pair_stamp(own)

    def pair_digest(self, item_id: str) -> str:
        dataset, own = self._places[item_id]
        return dataset.pair_digest(own)
