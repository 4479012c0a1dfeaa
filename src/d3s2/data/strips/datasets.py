"""Data sets of strips, and of pairs that are put together of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from d3s2.base.errors import DataError
from d3s2.data.dataset import SegmentationDataset, read_pair
from d3s2.data.label_space import LabelSpace
from d3s2.data.strips.names import SIGN, place_of, sources_of, strip_id


@dataclass(frozen=True)
class StripsDataset:
    """Every strip of every pair on its own, for a census; ids go through the pairs once for each position.

    Args:
        source: pairs of one size, as wide as there are strips or wider.
        count: strips of equal width, 2 at least.

    Raises:
        DataError: an id holds the sign that names strips.
    """

    source: SegmentationDataset
    count: int

    def __post_init__(self) -> None:
        signed = next((item_id for item_id in self.source.ids if SIGN in item_id), None)
        if signed is not None:
            raise DataError(
                f"{self.source.name}: id '{signed}' holds a '{SIGN}', which names composed masks; rename its files, or "
                "set select.strips to 1."
            )

    @property
    def name(self) -> str:
        return f"{self.source.name} in {self.count} strips"

    @property
    def space(self) -> LabelSpace:
        return self.source.space

    @cached_property
    def ids(self) -> Sequence[str]:
        return [strip_id(item_id, position) for position in range(self.count) for item_id in self.source.ids]

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        source, position = place_of(item_id)
        return strip(self.source.image(source), position, self.count)

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        source, position = place_of(item_id)
        return strip(self.source.mask(source), position, self.count)

    def pair_stamp(self, item_id: str) -> str:
        source, position = place_of(item_id)
        return f"{self.source.pair_stamp(source)}-{position}/{self.count}"

    def pair_digest(self, item_id: str) -> str:
        source, position = place_of(item_id)
        return f"{self.source.pair_digest(source)}-{position}/{self.count}"


@dataclass(frozen=True)
class ComposedDataset:
    """A data set that also knows pairs put together of strips of its own; its own ids are its own pairs.

    Args:
        source: pairs of one size.
    """

    source: SegmentationDataset

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def space(self) -> LabelSpace:
        return self.source.space

    @property
    def ids(self) -> Sequence[str]:
        return self.source.ids

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.source.ids)

    def _sources(self, item_id: str) -> tuple[str, ...]:
        """An id of the data set is one pair, also where it holds the sign."""
        return (item_id,) if item_id in self._own else sources_of(item_id)

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return composed([self.source.image(source) for source in self._sources(item_id)])

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        return composed([self.source.mask(source) for source in self._sources(item_id)])

    def pair(self, item_id: str) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        pairs = [read_pair(self.source, source) for source in self._sources(item_id)]
        return composed([image for image, _ in pairs]), composed([mask for _, mask in pairs])

    def pair_stamp(self, item_id: str) -> str:
        return SIGN.join(map(self.source.pair_stamp, self._sources(item_id)))

    def pair_digest(self, item_id: str) -> str:
        return SIGN.join(map(self.source.pair_digest, self._sources(item_id)))


def with_composed(source: SegmentationDataset, ids: Sequence[str]) -> SegmentationDataset:
    """What pairs called `ids` are read from: the data set itself where all of them are its own."""
    return source if set(ids) <= set(source.ids) else ComposedDataset(source)


def strip(pixels: NDArray[np.uint8], position: int, count: int) -> NDArray[np.uint8]:
    """One of `count` vertical strips of an image or mask, counted from the left; widths differ by 1 px at the most."""
    width = pixels.shape[1]
    return pixels[:, position * width // count : (position + 1) * width // count]


def composed(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The strip at each position from the picture of that position."""
    return np.concatenate([strip(one, position, len(pictures)) for position, one in enumerate(pictures)], axis=1)
