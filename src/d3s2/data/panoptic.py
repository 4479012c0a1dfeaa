"""Data in COCO's panoptic format: a JSON file of segments, and a PNG of segment ids for each image.

What is read is semantic: a pixel's class is the category of its segment, and a pixel of no segment is ignored.

Source: https://cocodataset.org/#format-data, section 4 (an id is R + 256 G + 256^2 B; 0 is no segment).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydantic import ConfigDict

from d3s2.base.config import Config, build
from d3s2.base.errors import DataError, UsageError
from d3s2.base.formats.files import MAX_BYTES, read_text, sha256_text
from d3s2.base.formats.json_text import parse_json
from d3s2.base.formats.records import record_from
from d3s2.base.names import choose
from d3s2.base.pixels import Colour
from d3s2.base.train_ids import IGNORE
from d3s2.data.dataset import DIGEST_LENGTH, file_digest, file_stamp
from d3s2.data.files.image_files import read_colour_mask, read_image
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import GIVE_ROOT

JSON = "annotations/panoptic_{split}.json"
IMAGES = ("images/{split}", "{split}")
NO_SEGMENT = 0
ADVICE = "is it a file of COCO's panoptic format?"
FURTHER_KEYS = ConfigDict(extra="ignore", strict=True)


@dataclass(frozen=True)
class Segment:
    """One segment of a mask."""

    __pydantic_config__ = FURTHER_KEYS

    id: int
    category_id: int


@dataclass(frozen=True)
class Annotation:
    """The mask of one image."""

    __pydantic_config__ = FURTHER_KEYS

    image_id: int | str
    file_name: str
    segments_info: tuple[Segment, ...]


@dataclass(frozen=True)
class ImageEntry:
    """One image."""

    __pydantic_config__ = FURTHER_KEYS

    id: int | str
    file_name: str


@dataclass(frozen=True)
class Category:
    """One class."""

    __pydantic_config__ = FURTHER_KEYS

    id: int
    name: str
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class PanopticFile:
    """What is read of the JSON file; it may hold more."""

    __pydantic_config__ = FURTHER_KEYS

    images: tuple[ImageEntry, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[Category, ...]


class PanopticOptions(Config):
    """Options of the data set `coco-panoptic`; `{split}` stands for the split."""

    annotations: str = JSON
    """The JSON file, below the root."""
    images: str | None = None
    """The folder of images; default: `images/{split}` or `{split}`, whichever is there."""
    masks: str | None = None
    """The folder of PNG files; default: the name of the JSON file without `.json`."""


@dataclass(frozen=True)
class PanopticDataset:
    """One split.

    Args:
        name: data set and split.
        space: the categories in the order of their ids.
        images, masks: folders.
        annotations: by item id: image file, mask file, and the train id of each segment id.
    """

    name: str
    space: LabelSpace
    images: Path
    masks: Path
    annotations: Mapping[str, tuple[str, str, Mapping[int, int]]]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(sorted(self.annotations))

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_image(self._image_file(item_id))

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        path, train_of = self._mask_file(item_id), self.annotations[item_id][2]
        wide = read_colour_mask(path).astype(np.int32)
        segments = wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]
        found, position = np.unique(segments, return_inverse=True)
        unknown = [int(one) for one in found if one != NO_SEGMENT and int(one) not in train_of]
        if unknown:
            raise DataError(f"{path}: holds segment {unknown[0]}, which its entry in the JSON file does not list.")
        train = np.array([train_of.get(int(one), IGNORE) for one in found], dtype=np.uint8)
        return train[position].reshape(segments.shape)

    def pair_stamp(self, item_id: str) -> str:
        files = f"{file_stamp(self._mask_file(item_id))}/{file_stamp(self._image_file(item_id))}"
        return f"{files}/{self._segments(item_id)}"

    def pair_digest(self, item_id: str) -> str:
        files = f"{file_digest(self._mask_file(item_id))}-{file_digest(self._image_file(item_id))}"
        return f"{files}-{self._segments(item_id)}"

    def _segments(self, item_id: str) -> str:
        """A digest of what the JSON file says of a mask."""
        return sha256_text(str(sorted(self.annotations[item_id][2].items())))[:DIGEST_LENGTH]

    def _image_file(self, item_id: str) -> Path:
        return self.images / self.annotations[item_id][0]

    def _mask_file(self, item_id: str) -> Path:
        return self.masks / self.annotations[item_id][1]


def open_panoptic(split: str, root: Path | None, options: Mapping[str, Any]) -> PanopticDataset:
    """One split below the folder `root`.

    Raises:
        UsageError: there is no root.
        DataError: the JSON file or a folder is missing, or what it says contradicts itself.
    """
    chosen = build(PanopticOptions, options, "options of coco-panoptic")
    if root is None:
        raise UsageError(f"Data set 'coco-panoptic' needs the folder that it lies in; {GIVE_ROOT}.")
    path = root / chosen.annotations.replace("{split}", split)
    if not path.is_file():
        _refuse_split(root, chosen.annotations, split)
    content: PanopticFile = record_from(
        parse_json(read_text(path, "panoptic JSON", MAX_BYTES, DataError), str(path), ADVICE, DataError),
        PanopticFile,
        str(path),
        ADVICE,
        DataError,
    )
    candidates = (chosen.images,) if chosen.images else IMAGES
    images = _folder(root, [one.replace("{split}", split) for one in candidates], "images")
    masks = path.with_suffix("") if chosen.masks is None else root / chosen.masks.replace("{split}", split)
    categories = sorted(content.categories, key=lambda one: one.id)
    space = LabelSpace(root.resolve().name, tuple(one.name for one in categories), palette=_palette(categories))
    train_of = {one.id: position for position, one in enumerate(categories)}
    annotations = dict(_annotations(content, train_of, str(path)))
    if not annotations:
        raise DataError(f"{path}: holds not a single annotation.")
    return PanopticDataset(f"{root}/{split}", space, images, _folder(masks, ["."], "masks"), annotations)


def _annotations(
    content: PanopticFile, train_of: Mapping[int, int], where: str
) -> Iterator[tuple[str, tuple[str, str, Mapping[int, int]]]]:
    files = {one.id: one.file_name for one in content.images}
    for one in content.annotations:
        image, mask = files.get(one.image_id), one.file_name
        if image is None:
            raise DataError(f"{where}: annotation '{mask}' is of image {one.image_id}, which is not listed.")
        for name in (image, mask):
            if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
                raise DataError(f"{where}: the file name '{name}' leads out of its folder.")
        unknown = [part.category_id for part in one.segments_info if part.category_id not in train_of]
        if unknown:
            raise DataError(f"{where}: '{mask}' has a segment of category {unknown[0]}, which is not listed.")
        segments = {part.id: train_of[part.category_id] for part in one.segments_info}
        yield Path(mask).with_suffix("").as_posix().replace("/", "__"), (image, mask, segments)


def _refuse_split(root: Path, annotations: str, split: str) -> None:
    """Raises UsageError with the splits whose JSON is there; nothing where none is."""
    before, _, after = annotations.partition("{split}")
    found = [path.relative_to(root).as_posix() for path in root.glob(annotations.replace("{split}", "*"))]
    known = [name.removeprefix(before).removesuffix(after) for name in found]
    if known:
        choose(dict.fromkeys(known), split, f"split of {root}")


def _folder(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    expected = " or ".join(str(root / name) for name in names)
    raise DataError(f"There is no folder of {what}, expected {expected}; name it in data.options.{what}.")


def _palette(categories: Sequence[Category]) -> tuple[Colour, ...] | None:
    """The colours of the file, where each class has one of its own."""
    colours = tuple(one.color for one in categories if one.color is not None)
    return colours if len(set(colours)) == len(categories) else None
