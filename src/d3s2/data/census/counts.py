"""MaskCensus: how many pixels of each class each mask holds, counted once, and the counting of one mask.

| variable | symbol | meaning |
|---|---|---|
| pixels | p[i, c] | pixels of class c in mask i |
| images_per_class | n_c | masks that hold class c |
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse
from jaxtyping import Float64, Int32, Int64, UInt8
from numpy.typing import NDArray
from PIL import Image

from d3s2.base.train_ids import IGNORE
from d3s2.data.dataset import FileDataset, SegmentationDataset
from d3s2.data.files.image_files import read_8bit_mask
from d3s2.data.label_space import LabelSpace

LAYOUT_SIZE = (12, 16)
"""(height, width) of the coarse grid that stands for a mask where near-duplicates are searched for."""

LAYOUT_CELLS = LAYOUT_SIZE[0] * LAYOUT_SIZE[1]


@dataclass(frozen=True)
class MaskCensus:
    """The pixel counts of a data set, one row a mask.

    Args:
        class_names: in the order of train ids.
        ids: of the masks, in data set order.
        pixels: (n, c) int32, p[i, c]; ignored pixels are in no column.
        mask_px: (n,) pixels of each mask, ignored ones included.
        layouts: (n, 192) train ids of a nearest 12 x 16 grid of each mask, row by row; None where nobody took them.
        digest: follows from what the pairs hold, wherever they lie; empty where nobody took it.
    """

    class_names: tuple[str, ...]
    ids: Sequence[str]
    pixels: scipy.sparse.csr_array
    mask_px: NDArray[np.int32]
    layouts: NDArray[np.uint8] | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        assert self.pixels.shape == (len(self.ids), len(self.class_names))
        assert self.mask_px.shape == (len(self.ids),)
        assert self.layouts is None or self.layouts.shape == (len(self.ids), LAYOUT_CELLS)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_classes(self) -> int:
        """How many classes there are, those without a pixel included."""
        return len(self.class_names)

    @cached_property
    def class_px(self) -> Int64[np.ndarray, " c"]:
        """Pixels of each class in all masks together."""
        counted = self.pixels.tocoo()
        total = np.zeros(self.num_classes, dtype=np.int64)
        np.add.at(total, counted.col, counted.data.astype(np.int64))
        return total

    @property
    def class_frequency(self) -> Float64[np.ndarray, " c"]:
        """Share of each class in all pixels that hold a class; zeros where none does."""
        return self.class_px / max(1, int(self.class_px.sum()))

    @cached_property
    def images_per_class(self) -> Int64[np.ndarray, " c"]:
        """How many masks hold each class with at least one pixel."""
        return self.coverage(min_pixels=1)

    def coverage(self, min_pixels: int) -> Int64[np.ndarray, " c"]:
        """How many masks hold each class with at least `min_pixels` (1 or more) pixels."""
        columns = self.pixels.indices[self.pixels.data >= min_pixels]
        return np.bincount(columns, minlength=self.num_classes).astype(np.int64)

    @cached_property
    def cooccurrence(self) -> Int64[np.ndarray, "c c"]:
        """How many masks hold class a and class b both; the diagonal is `images_per_class`."""
        present = (self.pixels > 0).astype(np.int64)
        return (present.T @ present).toarray()

    def rows(self, positions: Sequence[int] | NDArray[np.integer]) -> "MaskCensus":
        """The census of the masks at `positions` only, in that order."""
        chosen = np.asarray(positions, dtype=np.int64)
        return MaskCensus(
            class_names=self.class_names,
            ids=tuple(self.ids[position] for position in chosen),
            pixels=self.pixels[chosen],
            mask_px=self.mask_px[chosen],
            layouts=None if self.layouts is None else self.layouts[chosen],
        )


@dataclass(frozen=True)
class MaskCount:
    """One row of a census.

    Args:
        class_px: pixels of each class.
        mask_px: pixels of the mask, ignored ones included.
        layout: train ids of the nearest 12 x 16 grid, row by row.
        digest: `pair_digest` of the pair; empty for a mask that belongs to no data set.
    """

    class_px: Int32[np.ndarray, " c"]
    mask_px: int
    layout: UInt8[np.ndarray, " 192"]
    digest: str = ""


def count_mask(mask: UInt8[np.ndarray, "h w"], num_classes: int) -> MaskCount:
    """Counts the pixels of each class in one mask of train ids, in one pass whatever the number of classes."""
    picture = Image.fromarray(mask)
    class_px = np.array(picture.histogram()[:num_classes], dtype=np.int32)
    return MaskCount(class_px=class_px, mask_px=mask.size, layout=coarse_layout(picture))


def count_item(dataset: SegmentationDataset, item_id: str) -> MaskCount:
    """Counts one mask of a data set; raises DataError naming a file that cannot be used.

    An 8-bit index file is counted as it is decoded, and the counts are translated to train ids instead of the pixels.
    """
    return replace(_count_item(dataset, item_id), digest=dataset.pair_digest(item_id))


def _count_item(dataset: SegmentationDataset, item_id: str) -> MaskCount:
    if isinstance(dataset, FileDataset) and not dataset.colour_coded:
        path = dataset.entry(item_id).mask
        picture = read_8bit_mask(path)
        if picture is not None:
            return _count_raw(picture, dataset.space, str(path))
    return count_mask(dataset.mask(item_id), dataset.space.num_classes)


def _count_raw(picture: Image.Image, space: LabelSpace, where: str) -> MaskCount:
    train_of = space.train_of_byte
    class_px = np.zeros(space.num_classes, dtype=np.int32)
    translation = bytearray([IGNORE]) * 256
    for raw, count in enumerate(picture.histogram()):
        if count:
            train = train_of[raw]
            if train < 0:
                space.decode_index(np.asarray(picture), where)  # says which value and what was expected
            if train != IGNORE:
                class_px[train] += count
                translation[raw] = train
    layout = np.frombuffer(coarse_layout(picture).tobytes().translate(translation), dtype=np.uint8)
    return MaskCount(class_px=class_px, mask_px=picture.width * picture.height, layout=layout)


def coarse_layout(picture: Image.Image) -> UInt8[np.ndarray, " 192"]:
    """The values at the centres of a 12 x 16 grid of an 8-bit picture, row by row."""
    height, width = LAYOUT_SIZE
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)).reshape(-1)


def census_of(
    counts: Sequence[MaskCount], class_names: tuple[str, ...], ids: Sequence[str], layouts: bool = True
) -> MaskCensus:
    """The census made of rows counted in memory; `pipeline.census` is the one for data sets on disk."""
    table = np.stack([count.class_px for count in counts])
    return MaskCensus(
        class_names=class_names,
        ids=tuple(ids),
        pixels=scipy.sparse.csr_array(table),
        mask_px=np.array([count.mask_px for count in counts], dtype=np.int32),
        layouts=np.stack([count.layout for count in counts]) if layouts else None,
    )
