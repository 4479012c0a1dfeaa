"""Hugging Face `datasets`: a hub id, a folder of `save_to_disk`, or a folder of parquet with image and mask columns."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from huggingface_hub.constants import HF_HUB_CACHE
from jaxtyping import UInt8
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from d3s2.base.config import Config, build
from d3s2.base.errors import DataError, UsageError
from d3s2.base.formats.files import read_bytes, read_json, read_text, sha256_text
from d3s2.base.formats.records import record_from
from d3s2.base.names import choose
from d3s2.data.dataset import DIGEST_LENGTH, file_stamp
from d3s2.data.files.image_files import decode_image, decode_mask
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairing import GIVE_ROOT

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
class SplitsRecord:
    """What `save_to_disk` of the package datasets writes beside several splits."""

    __pydantic_config__ = ConfigDict(extra="ignore", strict=True)

    splits: Annotated[tuple[str, ...], Field(min_length=1)]


@dataclass(frozen=True)
class HubDataset:
    """One split of a data set of the `datasets` library; ids are row numbers.

    Args:
        name: data set and split.
        space: the classes and their values.
        table: a `datasets.Dataset` with both columns as images.
        image_column: RGB images.
        mask_column: index masks.
        folders: where pictures may lie that are not in the table itself.
    """

    name: str
    space: LabelSpace
    table: Any
    image_column: str
    mask_column: str
    folders: tuple[Path, ...]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{row:08d}" for row in range(len(self.table)))

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return decode_image(self._content(item_id, self.image_column), self._where(item_id))

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        return self.space.decode_index(self.raw_mask(item_id), self._where(item_id))

    def raw_mask(self, item_id: str) -> NDArray[np.uint16]:
        """The values of a mask as they are stored."""
        return decode_mask(self._content(item_id, self.mask_column), self._where(item_id))

    def pair_stamp(self, item_id: str) -> str:
        return self._table_stamp

    def pair_digest(self, item_id: str) -> str:
        """Of the encoded bytes of mask and image."""
        return "-".join(self._digest_of(item_id, column) for column in (self.mask_column, self.image_column))

    @cached_property
    def _table_stamp(self) -> str:
        """The fingerprint says how the table was made, and nothing of a file that was written over since."""
        files = sorted(str(file["filename"]) for file in self.table.cache_files)
        return sha256_text(" ".join([str(self.table._fingerprint), *(file_stamp(Path(file)) for file in files)]))

    def _digest_of(self, item_id: str, column: str) -> str:
        return hashlib.sha256(self._content(item_id, column)).hexdigest()[:DIGEST_LENGTH]

    @cached_property
    def _encoded(self) -> Any:
        table = self.table.select_columns([self.image_column, self.mask_column])
        for column in (self.image_column, self.mask_column):
            table = table.cast_column(column, type(table.features[column])(decode=False))
        return table

    def _content(self, item_id: str, column: str) -> bytes:
        """The bytes of a picture's file, which lie in the table or beside it."""
        where = self._where(item_id)
        try:
            cell = self._encoded.select_columns([column])[int(item_id)][column] or {}
        except Exception as error:  # Arrow's and the package's own, of damaged rows
            raise DataError(f"{where}: column '{column}' cannot be read ({_said(error)}).") from None
        if cell.get("bytes") is not None:
            return cell["bytes"]
        if not cell.get("path"):
            raise DataError(f"{where}: column '{column}' holds no picture.")
        path = Path(os.path.abspath(cell["path"]))  # of '..' too; a table by others may name any file of this machine
        if not any(path.is_relative_to(folder) for folder in self.folders):
            raise DataError(
                f"{where}: column '{column}' names the picture {path}, which lies outside the data set; put it into "
                "the data set's folder, or into the table."
            )
        return read_bytes(path, f"the picture of {where}", error=DataError)

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
    return HubDataset(name, space, table, chosen.image_column, mask_column, _folders(root))


def _folders(root: Path | None) -> tuple[Path, ...]:
    """The data set's own, or those in which the package keeps what it downloads."""
    if root is not None:
        return (Path(os.path.abspath(root)),)
    config = _package().config
    kept = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, HF_HUB_CACHE)
    return tuple(Path(os.path.abspath(one)) for one in kept)


def split_names(root: Path) -> tuple[str, ...]:
    """The splits of a folder; raises as `open_hub`."""
    datasets = _package()
    if (root / "dataset_dict.json").is_file():
        path = root / "dataset_dict.json"
        advice = "save the data set again, or get it anew"
        return record_from(read_json(path, advice, DataError), SplitsRecord, str(path), advice, DataError).splits
    if (root / "state.json").is_file():
        return ("train",)
    try:
        return tuple(datasets.get_dataset_split_names(str(root)))
    except Exception as error:  # each of its builders raises other ones
        raise DataError(f"{root}: cannot be opened by the package datasets ({_said(error)}).") from None


def _package() -> Any:
    try:
        import datasets  # an optional extra: asked for where it is needed
    except ImportError:
        raise UsageError(
            "Data set 'hf' needs the package datasets, which is not installed: pip install 'd3s2[datasets]'."
        ) from None
    return datasets


def _table(chosen: HubOptions, split: str, root: Path | None, name: str) -> Any:
    datasets = _package()
    if root is not None and not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}; {GIVE_ROOT}.")
    try:
        if root is not None and (root / "dataset_dict.json").is_file():
            return datasets.load_from_disk(str(root))[split]
        if root is not None and (root / "state.json").is_file():
            return datasets.load_from_disk(str(root))
        return datasets.load_dataset(chosen.hub or str(root), chosen.config, split=split, revision=chosen.revision)
    except Exception as error:  # each of its builders raises other ones
        if root is not None and split not in (known := split_names(root)):
            choose(dict.fromkeys(known), split, f"split of {root}")
        raise DataError(f"{name}: cannot be opened by the package datasets ({_said(error)}).") from None


def _names_beside(root: Path | None, name: str) -> tuple[str, ...]:
    path = root / "id2label.json" if root is not None else None
    if path is None or not path.is_file():
        raise DataError(f"{name}: there are no class names; give them in options.classes.")
    text = read_text(path, "class names by id", error=DataError)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); give the names in options.classes.") from None
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise DataError(f"{path}: expected a class name for each id; give the names in options.classes.")
    ids = [str(number) for number in range(len(content))]
    if content.keys() != set(ids):
        raise DataError(f"{path}: ids do not count up from 0; give the names in options.classes.")
    return tuple(content[number] for number in ids)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
