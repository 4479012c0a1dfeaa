"""DistilledSet: a finished set on disk, read as any other data set."""

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_bytes
from d3s2.data import LabelSpace
from d3s2.data.files import read_image, read_mask
from d3s2.store.item_table import Items, read_items
from d3s2.store.items import ITEMS, MANIFEST, Item, own_file
from d3s2.store.manifest import read_manifest, space_of
from d3s2.store.soft.labels import SoftLabels, soft_from_bytes


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set; a `SegmentationDataset` whose masks are the labels of its items.

    Args:
        folder: where the set lies.

    Raises:
        StoreError: there is no finished set in the folder, or one that this version cannot read.

    Examples:
        >>> from pathlib import Path
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> made = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> from d3s2.store import DistilledSet
        >>> distilled = DistilledSet(Path("runs/small"))
        >>> distilled.mask(distilled.ids[0]).shape, len(distilled.items)
        ((64, 96), 4)
    """

    folder: Path
    manifest: dict[str, Any] = field(init=False, repr=False, compare=False)
    items: Items = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        object.__setattr__(self, "manifest", read_manifest(self.folder))
        object.__setattr__(self, "items", read_items(self.folder / ITEMS))

    @property
    def name(self) -> str:
        return self.manifest.get("name") or self.folder.name

    @cached_property
    def space(self) -> LabelSpace:
        return space_of(self.manifest, self.folder / MANIFEST)

    @property
    def ids(self) -> tuple[str, ...]:
        return self.items.ids

    def item(self, item_id: str) -> Item:
        """The facts of one item; raises StoreError where the set has none of that id."""
        place = bisect_left(self.ids, item_id)
        if self.ids[place : place + 1] != (item_id,):
            raise StoreError(f"{self.folder}: has no item '{item_id}'; is it the set of another run?")
        return self.items[place]

    def image(self, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
        return read_image(own_file(self.folder, self.item(item_id).image_file))

    def mask(self, item_id: str) -> UInt8[np.ndarray, "h w"]:
        path = own_file(self.folder, self.item(item_id).label_file)
        return self.space.decode_index(read_mask(path), str(path))

    def pair_stamp(self, item_id: str) -> str:
        return self.item(item_id).label_sha256

    def pair_digest(self, item_id: str) -> str:
        item = self.item(item_id)
        return f"{item.label_sha256} {item.image_sha256}"

    def soft(self, item_id: str) -> SoftLabels | None:
        """The teacher's soft labels of one item; None where the set has none."""
        file = self.item(item_id).soft_file
        if file is None:
            return None
        path = own_file(self.folder, file)
        if not path.exists():
            raise StoreError(f"{path}: there is no such file; `d3s2 verify` lists what is missing.")
        soft = soft_from_bytes(read_bytes(path, "soft labels"), str(path))
        if soft.num_classes != self.space.num_classes:
            raise StoreError(
                f"{path}: is of {soft.num_classes} classes, the set of {self.space.num_classes}; `d3s2 verify` lists "
                "every such file."
            )
        return soft
