"""SetWriter: a distilled set that grows item by item and survives being stopped at any moment."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from d3s2.base.errors import DataError, StoreError, UsageError
from d3s2.base.formats.files import read_json, sha256_file, sweep_parts, write_bytes
from d3s2.base.formats.records import read_record
from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace
from d3s2.data.files import png_bytes
from d3s2.store.card import card_text
from d3s2.store.item_table import Items, read_items
from d3s2.store.items import (
    CARD,
    IMAGES,
    ITEMS,
    LABELS,
    MANIFEST,
    SAFE_ID,
    SOFT,
    UNFINISHED,
    Item,
    ItemFacts,
    check_item_id,
    expected_files,
    json_bytes,
    sha256_bytes,
)
from d3s2.store.manifest import (
    DIGESTS,
    FORMAT,
    FORMAT_VERSION,
    OWN_DIGEST,
    PROVENANCE,
    WRITTEN_HERE,
    digest_of,
)
from d3s2.store.soft.labels import SoftLabels, soft_bytes


class SetWriter:
    """Writes a distilled set; hold `files.locked(folder)` meanwhile (several writers of one run may share it).

    Files of an item come first and its record last, so that an item is complete or absent; the manifest is the last
    file of all. The same items give the same bytes, in whatever order they were written and however often the run
    was stopped.

    Args:
        folder: where the set lies; made when absent.
        digest: digest of the plan (resolved config and inputs). A folder begun with another one is refused.
        space: classes of the labels.
        parts: what the plan is made of ('teacher') -> its digest, so that a refusal says what is another.

    Raises:
        StoreError: the folder holds another plan, or files that d3s2 did not write.
    """

    def __init__(self, folder: Path, digest: str, space: LabelSpace, parts: Mapping[str, str] | None = None) -> None:
        self.folder, self.digest, self.space, self.parts = folder, digest, space, dict(parts or {})
        self._unfinished = folder / UNFINISHED
        plan = self._unfinished / "plan.json"
        if self.finished:
            self._check_same_plan(folder / MANIFEST)
            shutil.rmtree(self._unfinished, ignore_errors=True)
        elif plan.exists():
            self._check_same_plan(plan)
        else:
            self._check_not_foreign()
            self._put(plan, self._plan())

    @property
    def finished(self) -> bool:
        """Whether the set has its manifest; an item of it may have been damaged since, see `done`."""
        return (self.folder / MANIFEST).exists()

    def done(self) -> set[str]:
        """Ids of the items that are whole: every file there, with the digest of its record."""
        return {item.item_id for item in self._records() if self._intact(item)}

    def has(self, item_id: str) -> bool:
        """Whether the item was whole once; a look at one file, where `done` reads them all."""
        return self.finished or self._record(item_id).exists()

    def forget(self, item_id: str) -> None:
        """Drops the record of an item of an unfinished set, so that it is made again."""
        self._record(item_id).unlink(missing_ok=True)

    def write(
        self,
        item_id: str,
        image: UInt8[np.ndarray, "h w 3"],
        label: UInt8[np.ndarray, "a b"],
        facts: ItemFacts,
        soft: SoftLabels | None = None,
    ) -> Item:
        """Stores one pair; afterwards it is done.

        Args:
            item_id: name of the files; `item_id_for` makes one from a mask's id.
            image: RGB.
            label: train ids, 255 ignored; of the size of the image.
            facts: how the image came to be.
            soft: the teacher's opinion, stored beside the label.

        Raises:
            UsageError: the id cannot be a file name.
            DataError: sizes differ, or the label holds a value outside the space.
            StoreError: the disk is full or the folder cannot be written.
        """
        check_item_id(item_id)
        self._check_pair(item_id, image, label)
        if self.finished:
            self.reopen()
        image_file, image_sha256 = self._store(f"{IMAGES}/{item_id}.png", png_bytes(image))
        label_file, label_sha256 = self._store(f"{LABELS}/{item_id}.png", png_bytes(label))
        soft_file, soft_sha256 = None, None
        if soft is not None:
            soft_file, soft_sha256 = self._store(f"{SOFT}/{item_id}.safetensors", soft_bytes(soft))
        item = Item(
            item_id=item_id,
            **asdict(facts),
            ignored_px=int(np.count_nonzero(label == IGNORE)),
            image_file=image_file,
            image_sha256=image_sha256,
            label_file=label_file,
            label_sha256=label_sha256,
            soft_file=soft_file,
            soft_sha256=soft_sha256,
        )
        self._put(self._record(item_id), json_bytes(asdict(item)))
        return item

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Writes items.parquet, the card and, last, manifest.json; the set is then whole.

        Args:
            manifest: the provenance of the set, JSON values only: every key of PROVENANCE and whatever else is worth
                keeping ('name' is what messages call the set).

        Raises:
            UsageError: a key of the provenance is missing, or one is given that the writer itself fills.
            StoreError: the set is empty, or an item was changed after it was written.
        """
        self._check_manifest(manifest)
        items = self._whole_items()
        self._sweep()
        table = items.as_bytes()
        self._put(self.folder / ITEMS, table)
        card = card_text(self.folder, items, self.space, manifest).encode()
        self._put(self.folder / CARD, card)
        written = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "digest": self.digest,
            "label_space": self.space.as_record(),
            "num_items": len(items),
            "ignored_px": sum(item.ignored_px for item in items),
            "bytes": sum((self.folder / file).stat().st_size for item in items for file, _ in item.files),
            "items_sha256": sha256_bytes(table),
            "card_sha256": sha256_bytes(card),
            "plan": self.parts,
        }
        whole = {**manifest, **written}
        self._put(self.folder / MANIFEST, json_bytes({**whole, OWN_DIGEST: digest_of(whole)}))
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def _put(self, path: Path, content: bytes) -> None:
        """Every file that the writer writes goes through here."""
        write_bytes(path, content)

    def _store(self, file: str, content: bytes) -> tuple[str, str]:
        self._put(self.folder / file, content)
        return file, sha256_bytes(content)

    def _plan(self) -> bytes:
        record = {"digest": self.digest, "format": FORMAT, "format_version": FORMAT_VERSION, "plan": self.parts}
        return json_bytes(record)

    def _record(self, item_id: str) -> Path:
        return self._unfinished / "items" / f"{item_id}.json"

    def _records(self) -> Iterator[Item]:
        """Every item that was written once, sorted by id."""
        if self.finished:
            yield from read_items(self.folder / ITEMS)
            return
        folder = self._unfinished / "items"
        files = map(Path, os.listdir(folder) if folder.exists() else ())
        for item_id in sorted(file.stem for file in files if SAFE_ID.fullmatch(file.stem) and file.suffix == ".json"):
            item = _item_from(self._record(item_id))
            if item is not None:
                yield item

    def _intact(self, item: Item) -> bool:
        return item.files == expected_files(item) and all(
            (self.folder / file).is_file() and sha256_file(self.folder / file) == digest for file, digest in item.files
        )

    def _whole_items(self) -> Items:
        items = Items.of(map(self._checked, self._records()))
        if not items:
            raise StoreError(
                f"{self.folder}: holds not a single item, so the set cannot be finished; write items first."
            )
        return items

    def _checked(self, item: Item) -> Item:
        if not self._intact(item):
            raise StoreError(
                f"{self.folder}: the files of item '{item.item_id}' were changed after they were written; "
                "run the same call again, it makes the item anew."
            )
        return item

    def _sweep(self) -> None:
        """Removes what a killed process left half-written."""
        for place in (IMAGES, LABELS, SOFT):
            sweep_parts(self.folder / place)
        for name in (ITEMS, CARD, MANIFEST):
            for leftover in self.folder.glob(f".{name}.*.d3s2.part"):
                leftover.unlink()

    def reopen(self) -> None:
        """Opens a finished set again, to make an item anew; the manifest goes when the records are back."""
        for item in read_items(self.folder / ITEMS):
            self._put(self._record(item.item_id), json_bytes(asdict(item)))
        self._put(self._unfinished / "plan.json", self._plan())
        (self.folder / MANIFEST).unlink()

    def _check_pair(self, item_id: str, image: np.ndarray, label: np.ndarray) -> None:
        if image.shape[:2] != label.shape:
            raise DataError(
                f"Item '{item_id}' has an image of {image.shape[0]} x {image.shape[1]} px and a label of "
                f"{label.shape[0]} x {label.shape[1]} px (height x width); a pair must have one size."
            )
        outside = label[(label >= self.space.num_classes) & (label != IGNORE)]
        if outside.size:
            raise DataError(
                f"Item '{item_id}': label {int(outside.min())} is outside {self.space.name}'s "
                f"0..{self.space.num_classes - 1} and {IGNORE} (ignored)."
            )

    def _check_manifest(self, manifest: Mapping[str, Any]) -> None:
        missing = [key for key in PROVENANCE if key not in manifest]
        if missing:
            raise UsageError(f"Manifest: '{missing[0]}' is missing, expected {', '.join(PROVENANCE)}.")
        taken = [key for key in (*WRITTEN_HERE, *DIGESTS) if key in manifest]
        if taken:
            raise UsageError(f"Manifest: '{taken[0]}' is filled by the writer; leave it out.")

    def _check_same_plan(self, path: Path) -> None:
        record = read_json(path)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise StoreError(f"{path}: was not written by d3s2; choose another --out.")
        if record.get("digest") != self.digest:
            raise StoreError(
                f"{self.folder}: holds a distilled set of a different call (other {self._what_differs(record)}); "
                "choose another --out, or repeat the first call to resume it."
            )

    def _what_differs(self, record: Mapping[str, Any]) -> str:
        stored = record.get("plan")
        known = stored if isinstance(stored, dict) else {}
        others = [name for name, digest in self.parts.items() if known.get(name, digest) != digest]
        return " and ".join(others) or "config, data or models"

    def _check_not_foreign(self) -> None:
        for name in (ITEMS, IMAGES, LABELS, SOFT):
            path = self.folder / name
            if path.exists() and (path.is_file() or any(path.iterdir())):
                raise StoreError(
                    f"{path}: is already there and belongs to no distilled set that d3s2 began; choose another --out."
                )


def _item_from(path: Path) -> Item | None:
    """An item's record; None where it cannot be read, which makes the item absent."""
    try:
        item = read_record(path, Item)
    except StoreError:
        return None
    return item if item.item_id == path.stem else None
