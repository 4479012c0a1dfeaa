"""DistilledSet: a finished set on disk, read as any other data set."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from d3s2.base.errors import StoreError
from d3s2.base.files import read_json
from d3s2.data.image_files import read_image, read_mask
from d3s2.data.label_space import LabelSpace, space_from_record
from d3s2.store.items import ITEMS, MANIFEST, UNFINISHED, Item, read_items
from d3s2.store.soft import SoftLabels, soft_from_bytes
from d3s2.store.writer import FORMAT, FORMAT_VERSION


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set; a `SegmentationDataset` whose masks are the labels of its items.

    Args:
        folder: where the set lies.

    Raises:
        StoreError: there is no finished set in the folder, or one that this version cannot read.
    """

    folder: Path
    manifest: dict[str, Any] = field(init=False, repr=False, compare=False)
    items: tuple[Item, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        object.__setattr__(self, "manifest", read_manifest(self.folder))
        object.__setattr__(self, "items", read_items(self.folder / ITEMS))

    @property
    def name(self) -> str:
        return self.manifest.get("name") or self.folder.name

    @cached_property
    def space(self) -> LabelSpace:
        return space_from_record(self.manifest["label_space"])

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(item.item_id for item in self.items)

    @cached_property
    def _by_id(self) -> dict[str, Item]:
        return {item.item_id: item for item in self.items}

    def item(self, item_id: str) -> Item:
        """The facts of one item."""
        return self._by_id[item_id]

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_image(self.folder / self._by_id[item_id].image_file)

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        path = self.folder / self._by_id[item_id].label_file
        return self.space.decode_index(read_mask(path), str(path))

    def pair_stamp(self, item_id: str) -> str:
        return self._by_id[item_id].label_sha256

    def pair_digest(self, item_id: str) -> str:
        item = self._by_id[item_id]
        return f"{item.label_sha256} {item.image_sha256}"

    def soft(self, item_id: str) -> SoftLabels | None:
        """The teacher's soft labels of one item; None where the set has none."""
        file = self._by_id[item_id].soft_file
        if file is None:
            return None
        path = self.folder / file
        try:
            return soft_from_bytes(path.read_bytes(), str(path))
        except FileNotFoundError:
            raise StoreError(f"{path}: there is no such file; `d3s2 verify` lists what is missing.") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished set; raises StoreError that says what the folder is instead."""
    path = folder / MANIFEST
    if not folder.is_dir():
        raise StoreError(f"{folder}: there is no such folder, expected one that `d3s2 distill` made.")
    if (folder / UNFINISHED).is_dir() and not path.exists():
        raise StoreError(f"{folder}: this distilled set is unfinished; run the call that began it again, it goes on.")
    if not path.exists():
        raise StoreError(f"{folder}: has no {MANIFEST}, so it is no distilled set; give the folder of one.")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: was not written by d3s2; give the folder of a distilled set.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise StoreError(
            f"{path}: is of format version {manifest.get('format_version')}, this d3s2 reads version {FORMAT_VERSION}; "
            "use the d3s2 that wrote it."
        )
    return manifest
