"""What a data set is to d3s2, and the two forms that others are built from: files, and a working size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.base.formats.files import sha256_file
from d3s2.base.train_ids import IGNORE
from d3s2.data.files.image_files import read_colour_mask, read_image, read_mask
from d3s2.data.files.places import FilePath, content_of, is_file, stamp_of
from d3s2.data.label_space import LabelSpace
from d3s2.data.settings import Resize

DIGEST_LENGTH = 16  # of 64 hex digits: one is kept for each file
MISSING = "missing"


@runtime_checkable
class SegmentationDataset(Protocol):
    """Pairs of image and mask, read by id. One split of one data set."""

    @property
    def name(self) -> str:
        """What messages and manifests call it, with the split: 'camvid/train'."""

    @property
    def space(self) -> LabelSpace:
        """The classes."""

    @property
    def ids(self) -> Sequence[str]:
        """Every id, in a fixed order that depends on no platform."""

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        """The RGB image."""

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        """Train ids, 255 where no class counts."""

    def pair_stamp(self, item_id: str) -> str:
        """A short text that changes whenever the pair may have changed on this disk; cheap, reads no file."""

    def pair_digest(self, item_id: str) -> str:
        """A short text that follows from what the pair holds: the same for a copy of the data elsewhere."""


@runtime_checkable
class ReadsPairs(Protocol):
    """A data set over another one: it reads image and mask together, so that their sizes there are compared."""

    def pair(self, item_id: str) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        """As `read_pair`."""


@dataclass(frozen=True)
class Entry:
    """Where a pair lies."""

    item_id: str
    image: FilePath
    mask: FilePath


@dataclass(frozen=True)
class FileDataset:
    """Pairs of files on disk.

    Args:
        name: data set and split.
        space: the classes and how mask files encode them.
        entries: the pairs; ids must differ.
        colour_coded: masks hold RGB colours of the palette instead of index values.
    """

    name: str
    space: LabelSpace
    entries: tuple[Entry, ...]
    colour_coded: bool = False

    def __post_init__(self) -> None:
        if not self.entries:
            raise DataError(f"{self.name}: holds not a single pair; check the folders and the extensions.")
        if len(self._by_id) != len(self.entries):
            ids = [entry.item_id for entry in self.entries]
            twice = next(item_id for item_id in ids if ids.count(item_id) > 1)
            raise DataError(f"{self.name}: id '{twice}' is there twice; file names without extension must differ.")

    @cached_property
    def _by_id(self) -> dict[str, Entry]:
        return {entry.item_id: entry for entry in self.entries}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(entry.item_id for entry in self.entries)

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        entry = self._by_id[item_id]
        return read_image(entry.image)

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        entry = self._by_id[item_id]
        if self.colour_coded:
            return self.space.decode_colours(read_colour_mask(entry.mask), str(entry.mask))
        return self.space.decode_index(read_mask(entry.mask), str(entry.mask))

    def entry(self, item_id: str) -> Entry:
        """Where the pair called `item_id` lies."""
        return self._by_id[item_id]

    def pair_stamp(self, item_id: str) -> str:
        entry = self._by_id[item_id]
        try:
            mask = stamp_of(entry.mask)
        except OSError as error:
            raise DataError(f"{entry.mask}: the mask of '{item_id}' cannot be read ({error.strerror}).") from None
        return f"{mask}/{file_stamp(entry.image)}"

    def pair_digest(self, item_id: str) -> str:
        """Of every byte of mask and image."""
        entry = self._by_id[item_id]
        return f"{file_digest(entry.mask)}-{file_digest(entry.image)}"


@dataclass(frozen=True)
class ResizedDataset:
    """Another data set at one working size: images by area, masks by nearest only.

    Args:
        source: the data set to read.
        size_px: (height, width).
        resize: what happens to another aspect ratio: `stretch` the pair, `crop` it at the centre, or `pad` it
            (image with grey, mask with IGNORE).
    """

    source: SegmentationDataset
    size_px: tuple[int, int]
    resize: Resize = "stretch"

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def space(self) -> LabelSpace:
        return self.source.space

    @property
    def ids(self) -> Sequence[str]:
        return self.source.ids

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return self.resized_image(self.source.image(item_id))

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        return self.resized_mask(self.source.mask(item_id))

    def pair(self, item_id: str) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
        image, mask = read_pair(self.source, item_id)
        return self.resized_image(image), self.resized_mask(mask)

    def resized_image(self, image: UInt8[np.ndarray, "a b 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The image at the working size."""
        return self._resized(image, Image.Resampling.LANCZOS, fill=128)

    def resized_mask(self, mask: UInt8[np.ndarray, "a b"]) -> UInt8[np.ndarray, "h w"]:
        """The mask at the working size."""
        return self._resized(mask, Image.Resampling.NEAREST, fill=IGNORE)

    def scaled_image(self, image: UInt8[np.ndarray, "a b 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """The whole image at the scale that it has at the working size, neither cut nor padded."""
        if self.resize == "stretch":
            return self.resized_image(image)
        return np.asarray(self._scaled(Image.fromarray(image), Image.Resampling.LANCZOS))

    def pair_stamp(self, item_id: str) -> str:
        height, width = self.size_px
        return f"{self.source.pair_stamp(item_id)}-{height}x{width}-{self.resize}"

    def pair_digest(self, item_id: str) -> str:
        height, width = self.size_px
        return f"{self.source.pair_digest(item_id)}-{height}x{width}-{self.resize}"

    def _resized(self, array: np.ndarray, how: Image.Resampling, fill: int) -> np.ndarray:
        height, width = self.size_px
        if array.shape[:2] == (height, width):
            return array
        picture = Image.fromarray(array)
        if self.resize == "stretch":
            return np.asarray(picture.resize((width, height), how))
        scaled = self._scaled(picture, how)
        canvas = Image.new(scaled.mode, (width, height), fill if scaled.mode == "L" else (fill, fill, fill))
        canvas.paste(scaled, ((width - scaled.width) // 2, (height - scaled.height) // 2))
        return np.asarray(canvas)

    def _scaled(self, picture: Image.Image, how: Image.Resampling) -> Image.Image:
        """So that it covers the working size (`crop`), or fits into it (`pad`)."""
        choose = max if self.resize == "crop" else min
        scale = choose(self.size_px[0] / picture.height, self.size_px[1] / picture.width)
        return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), how)


def read_pair(
    dataset: SegmentationDataset, item_id: str
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Image and mask of one id; raises DataError when their sizes on disk differ."""
    if isinstance(dataset, ReadsPairs):
        return dataset.pair(item_id)
    image, mask = dataset.image(item_id), dataset.mask(item_id)
    if image.shape[:2] != mask.shape:
        raise DataError(
            f"{dataset.name}: '{item_id}' has an image of {image.shape[0]} x {image.shape[1]} px and a mask of "
            f"{mask.shape[0]} x {mask.shape[1]} px (height x width); a pair must have one size."
        )
    return image, mask


def file_stamp(path: FilePath) -> str:
    """`stamp_of` a file; `MISSING` where there is none, which whoever reads it will say."""
    try:
        return stamp_of(path)
    except OSError:
        return MISSING


def file_digest(path: FilePath) -> str:
    """Of every byte of a file; `MISSING` where there is none, which whoever reads it will say."""
    if not is_file(path):
        return MISSING
    if not isinstance(path, Path):
        return sha256(content_of(path, "a file of the data set")).hexdigest()[:DIGEST_LENGTH]
    try:
        return sha256_file(path)[:DIGEST_LENGTH]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None
