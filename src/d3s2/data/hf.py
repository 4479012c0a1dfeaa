"""Hugging Face `datasets`: a hub id, a folder of `save_to_disk`, or a folder of parquet with image and mask columns."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from d3s2.base.config import Config, build
from d3s2.base.errors import DataError, UsageError
from d3s2.data.image_files import INDEX_MODES
from d3s2.data.label_space import LabelSpace

MASK_COLUMNS = ("mask", "label", "annotation", "segmentation")


class HubOptions(Config):
    """Options of the data set `hf`."""

    hub: str | None = None
    """The id of a data set on the hub; default: the folder given as root."""
    config: str | None = None
    """Which of the data set's configurations."""
    revision: str | None = None
    """A commit, tag or branch of the data set's repository."""
    image_column: str = "image"
    mask_column: str | None = None
    """Default: the first of mask, label, annotation and segmentation that is there."""
    classes: tuple[str, ...] | None = None
    """Class names; default: those of an id2label.json in the folder."""
    first_value: int = 0
    """The value of the first class in a mask."""
    ignore_values: tuple[int, ...] = ()
    """Values that are no class; 255 is always one."""


@dataclass(frozen=True)
class HubDataset:
    """One split of a data set of the `datasets` library; ids are row numbers.

    Args:
        name: data set and split.
        space: the classes and their values.
        table: a `datasets.Dataset` with both columns as images.
        image_column: RGB images.
        mask_column: index masks.
    """

    name: str
    space: LabelSpace
    table: Any
    image_column: str
    mask_column: str

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{row:08d}" for row in range(len(self.table)))

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        try:
            return np.array(self._picture(item_id, self.image_column).convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{self._where(item_id)}: the image cannot be decoded ({error}).") from None

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        try:
            picture = self._picture(item_id, self.mask_column)
            if picture.mode not in INDEX_MODES:
                raise DataError(
                    f"{self._where(item_id)}: the mask is a {picture.mode} image, expected an index mask with one "
                    "value a pixel."
                )
            raw = np.array(picture).astype(np.uint16)
        except (OSError, SyntaxError) as error:
            raise DataError(f"{self._where(item_id)}: the mask cannot be decoded ({error}).") from None
        return self.space.decode_index(raw, self._where(item_id))

    def pair_stamp(self, item_id: str) -> str:
        return str(self.table._fingerprint)

    def pair_digest(self, item_id: str) -> str:
        return self.pair_stamp(item_id)

    def _picture(self, item_id: str, column: str) -> Image.Image:
        return self.table.select_columns([column])[int(item_id)][column]

    def _where(self, item_id: str) -> str:
        return f"{self.name}, row {int(item_id)}"


def open_hub(split: str, root: Path | None, options: Mapping[str, Any]) -> HubDataset:
    """One split by hub id (`options.hub`) or from the folder `root`.

    Raises:
        UsageError: the package `datasets` is missing, or neither or both of hub id and folder are given.
        DataError: the data set, the split, a column or the class names are not there.
    """
    chosen = build(HubOptions, options, "options of hf")
    if (chosen.hub is None) == (root is None):
        raise UsageError("Data set 'hf' needs either options.hub (an id on the hub) or a root folder, and not both.")
    source = chosen.hub or str(root)
    name = f"{source}/{split}"
    table = _table(chosen, split, root, name)
    mask_column = chosen.mask_column or next(
        (column for column in MASK_COLUMNS if column in table.column_names), "mask"
    )
    for column in (chosen.image_column, mask_column):
        if column not in table.column_names or type(table.features[column]).__name__ != "Image":
            raise DataError(
                f"{name}: there is no column '{column}' of images, found {', '.join(table.column_names)}; name the "
                "columns in options.image_column and options.mask_column."
            )
    names = chosen.classes or _names_beside(root, name)
    raw_ids = {chosen.first_value + train: train for train in range(len(names))}
    space = LabelSpace(name=source, names=names, raw_ids=raw_ids, ignored=chosen.ignore_values)
    return HubDataset(name, space, table, chosen.image_column, mask_column)


def _table(chosen: HubOptions, split: str, root: Path | None, name: str) -> Any:
    try:
        import datasets  # an optional extra: asked for where it is needed
    except ImportError:
        raise UsageError(
            "Data set 'hf' needs the package datasets, which is not installed: pip install 'd3s2[datasets]'."
        ) from None
    if root is not None and not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}; give the folder of the data set with --root.")
    try:
        if root is not None and (root / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(root))[split]
        if root is not None and (root / "state.json").is_file():
            return datasets.load_from_disk(str(root))
        return datasets.load_dataset(chosen.hub or str(root), chosen.config, split=split, revision=chosen.revision)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{name}: cannot be opened by the package datasets ({type(error).__name__}: {why}).") from None


def _names_beside(root: Path | None, name: str) -> tuple[str, ...]:
    path = root / "id2label.json" if root is not None else None
    if path is None or not path.is_file():
        raise DataError(f"{name}: there are no class names; give them in options.classes.")
    by_id = {int(key): str(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    if sorted(by_id) != list(range(len(by_id))):
        raise DataError(f"{path}: ids do not count up from 0; give the names in options.classes.")
    return tuple(by_id[key] for key in sorted(by_id))
