"""Item: one synthetic pair of a distilled set, the names of its files, and the names of the files of a set."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.files import sha256_text
from d3s2.base.formats.records import RECORD
from d3s2.base.seeds import seed_for

IMAGES, LABELS, SOFT = "images", "labels", "soft"
ITEMS = "items.parquet"
MANIFEST = "manifest.json"
CARD = "README.md"
UNFINISHED = ".d3s2-unfinished"
"""Holds the plan and the items' records until the set is whole."""

SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ItemFacts:
    """How one image came to be.

    Args:
        source_id: id of the mask in the source data set.
        seed: what the item's noise was drawn from.
        candidate: position of the kept candidate among those of its mask, from 0.
        energies_before: by name, of the sample from the same noise without guidance; empty where none was made.
        energies_after: of the finished image.
        teacher_accuracy: share of the scored pixels where the teacher sees the label's class, 0..1.
    """

    source_id: str
    seed: int
    candidate: int = 0
    energies_before: Mapping[str, float] = field(default_factory=dict)
    energies_after: Mapping[str, float] = field(default_factory=dict)
    teacher_accuracy: float | None = None


@dataclass(frozen=True)
class Item:
    """One row of items.parquet: the facts of an item, its files and their digests.

    Args:
        item_id: name of its files, without extension.
        ignored_px: pixels of the label that belong to no class (255).
        image_file, label_file, soft_file: paths below the set's folder, with forward slashes.
        image_sha256, label_sha256, soft_sha256: digests of these files, in hex.

    The other fields are those of ItemFacts.
    """

    __pydantic_config__ = RECORD

    item_id: str
    source_id: str
    seed: int
    candidate: Annotated[int, pa.int32()]
    energies_before: dict[str, float]
    energies_after: dict[str, float]
    teacher_accuracy: float | None
    ignored_px: int
    image_file: str
    image_sha256: str
    label_file: str
    label_sha256: str
    soft_file: str | None = None
    soft_sha256: str | None = None

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """(path below the folder, digest) of every file of the item."""
        files = [(self.image_file, self.image_sha256), (self.label_file, self.label_sha256)]
        if self.soft_file is not None:
            files.append((self.soft_file, self.soft_sha256 or ""))
        return tuple(files)


def item_id_for(source_id: str, copy: int = 0) -> str:
    """A file name for the `copy`-th item of a mask; ids that cannot be one are made safe and told apart by a digest.

    Examples:
        >>> from d3s2.store import item_id_for
        >>> item_id_for("000003"), item_id_for("000003", copy=1), item_id_for("ulm/3")
        ('000003', '000003.1', 'ulm_3-a76b5c14')
    """
    name = source_id
    if not SAFE_ID.fullmatch(name) or len(name) > 100:
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", source_id)[-80:].lstrip("_-")
        name = f"{safe or 'item'}-{sha256_text(source_id)[:8]}"
    return f"{name}.{copy}" if copy else name


def noise_seed(run_seed: int, source_id: str, candidate: int) -> int:
    """What the noise of an item is drawn from.

    Examples:
        >>> from d3s2.store import noise_seed
        >>> noise_seed(0, "000003", 0) == noise_seed(0, "000003", 0) != noise_seed(0, "000003", 1)
        True
    """
    return seed_for(run_seed, "noise", source_id, candidate)


def own_file(folder: Path, file: str) -> Path:
    """The path of a set's file; raises StoreError for a link, which could lead anywhere in a set that others made."""
    path = folder / file
    for place in (path, *path.parents):
        if place == folder:
            break
        if place.is_symlink():
            raise StoreError(
                f"{place}: is a link, and links inside a set are not followed; put the files themselves there "
                "(`cp -rL` copies a set so), if you trust where they lead."
            )
    return path


def check_item_id(item_id: str) -> None:
    """Raises UsageError for an id that cannot be a file name everywhere."""
    if not SAFE_ID.fullmatch(item_id):
        raise UsageError(
            f"Item id '{item_id}' cannot be a file name: expected 1 to 200 letters, digits, '.', '_' or '-', "
            "beginning with a letter or a digit; make one with item_id_for."
        )


def expected_files(item: Item) -> tuple[tuple[str, str], ...]:
    """The files of an item under the names that its id gives them; an image may be PNG or JPEG."""
    suffix = ".jpg" if item.image_file.endswith(".jpg") else ".png"
    files = [
        (f"{IMAGES}/{item.item_id}{suffix}", item.image_sha256),
        (f"{LABELS}/{item.item_id}.png", item.label_sha256),
    ]
    if item.soft_file is not None:
        files.append((f"{SOFT}/{item.item_id}.safetensors", item.soft_sha256 or ""))
    return tuple(files)


def sha256_bytes(content: bytes) -> str:
    """The SHA-256 digest of bytes, in hex."""
    return hashlib.sha256(content).hexdigest()


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Indented JSON with a stable key order; the same bytes from the same content."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
