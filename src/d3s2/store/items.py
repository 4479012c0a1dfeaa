"""Item: one synthetic pair of a distilled set, and the table of them, items.parquet."""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.files import sha256_text
from d3s2.base.formats.parquet import from_row, names_of, read_table, schema_of, to_row
from d3s2.base.formats.records import RECORD
from d3s2.base.seeds import seed_for

IMAGES, LABELS, SOFT = "images", "labels", "soft"
ITEMS = "items.parquet"
MANIFEST = "manifest.json"
CARD = "README.md"
UNFINISHED = ".d3s2-unfinished"
"""Holds the plan and the items' records until the set is whole."""

ROW_BYTES = 64
"""What an item takes in the packed table at the least: its digests alone are as many bytes of noise."""

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


SCHEMA = schema_of(Item)

ENERGIES_1 = {
    "l_seg_before": ("energies_before", "segmentation"),
    "l_seg_after": ("energies_after", "segmentation"),
    "l_feat_before": ("energies_before", "features"),
    "l_feat_after": ("energies_after", "features"),
}
SCHEMA_1 = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("item_id", "source_id", "seed", "candidate")),
        *(pa.field(name, pa.float64()) for name in ENERGIES_1),
        *(
            column
            for column in SCHEMA
            if SCHEMA.get_field_index(column.name) > SCHEMA.get_field_index("energies_after")
        ),
    ]
)
"""Of format version 1."""

WHAT, ADVICE = "the table of items", "restore it from a copy"


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


def items_bytes(items: Sequence[Item]) -> bytes:
    """items.parquet, rows sorted by id; the same bytes from the same items."""
    rows = [to_row(item) for item in sorted(items, key=lambda item: item.item_id)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()


def read_items(path: Path) -> tuple[Item, ...]:
    """The rows of an items.parquet, sorted by id; raises StoreError where it is missing, damaged or foreign."""
    if not path.exists():
        raise StoreError(f"{path}: is missing, expected the table of the set's items; restore it from a copy.")
    own = own_file(path.parent, path.name)
    schema = SCHEMA_1 if set(ENERGIES_1) <= set(names_of(own, WHAT, ADVICE)) else SCHEMA
    table = read_table(own, schema, WHAT, ADVICE, row_bytes=ROW_BYTES)
    rows = (_from_version_1(row) if schema is SCHEMA_1 else from_row(SCHEMA, row) for row in table.to_pylist())
    items = tuple(sorted((Item(**row) for row in rows), key=lambda item: item.item_id))
    _check_items(path, items)
    return items


def _from_version_1(row: dict[str, Any]) -> dict[str, Any]:
    """A row of format version 1, which knew two energies, each in a column of its own."""
    energies: dict[str, dict[str, float]] = {"energies_before": {}, "energies_after": {}}
    for column, (when, name) in ENERGIES_1.items():
        value = row.pop(column)
        if value is not None:
            energies[when][name] = value
    return row | energies


def _check_items(path: Path, items: Sequence[Item]) -> None:
    # Paths come from a file that others may have written: none may lead out of the folder.
    for item in items:
        if not SAFE_ID.fullmatch(item.item_id):
            raise StoreError(f"{path}: item id '{item.item_id}' is no file name; was this table changed by hand?")
        if item.files != expected_files(item):
            raise StoreError(
                f"{path}: the files of item '{item.item_id}' do not bear its name; was this table changed by hand?"
            )
    ids = [item.item_id for item in items]
    if len(set(ids)) != len(ids):
        twice = next(first for first, second in pairwise(ids) if first == second)
        raise StoreError(f"{path}: item '{twice}' is there twice, expected one row an item.")


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
