"""What every format takes from a set: bytes that are what their digests say, and where the set comes from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_bytes, write_bytes, write_text
from d3s2.base.formats.foreign_text import markdown_text
from d3s2.base.progress import Progress, track
from d3s2.base.train_ids import IGNORE
from d3s2.data.files import png_bytes
from d3s2.store.items import Item, json_bytes, own_file, sha256_bytes
from d3s2.store.reader import DistilledSet

Encode = Callable[[UInt8[np.ndarray, "h w"]], bytes]
"""Train ids -> the bytes of a mask's PNG."""


def image_bytes(distilled: DistilledSet, item: Item) -> bytes:
    """The file of an item's image; raises StoreError where it is damaged, as do the two below."""
    return _unchanged(distilled, item.image_file, item.image_sha256)


def mask_bytes(distilled: DistilledSet, item: Item) -> bytes:
    """The file of an item's label: a grey PNG of train ids, 255 ignored."""
    return _unchanged(distilled, item.label_file, item.label_sha256)


def soft_bytes(distilled: DistilledSet, item: Item) -> bytes | None:
    """The file of an item's soft labels; None where it has none."""
    if item.soft_file is None:
        return None
    return _unchanged(distilled, item.soft_file, item.soft_sha256 or "")


def copy_pairs(
    distilled: DistilledSet,
    to: Path,
    images: str,
    masks: str,
    progress: Progress,
    encode: Encode | None = None,
    soft: str = "soft",
) -> None:
    """Writes every image and mask to a folder of its own, as `<id>.png`, and soft labels where the set has them.

    Args:
        distilled: the set.
        to: the folder of the export.
        images, masks, soft: folders below it.
        progress: where the work is told.
        encode: what masks are written as. Default: the bytes of the set.
    """
    for item in track(progress, "export", distilled.items, len(distilled.items)):
        write_bytes(to / images / Path(item.image_file).name, image_bytes(distilled, item))
        mask = mask_bytes(distilled, item)
        if encode is not None:
            mask = encode(distilled.mask(item.item_id))
        write_bytes(to / masks / f"{item.item_id}.png", mask)
        opinion = soft_bytes(distilled, item)
        if opinion is not None:
            write_bytes(to / soft / f"{item.item_id}.safetensors", opinion)


def shifted_by_one(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """An `Encode`: train id + 1, so that 0 is what no class owns."""
    return png_bytes(np.where(mask == IGNORE, 0, mask + 1).astype(np.uint8))


def write_about(distilled: DistilledSet, to: Path, card: str, **facts: str) -> None:
    """README.md from the text `card`, and the set's manifest."""
    facts["name"] = markdown_text(distilled.name)
    counts = {"num_items": len(distilled.items), "num_classes": distilled.space.num_classes}
    write_text(to / "README.md", card.format(**facts, **counts))
    write_manifest(distilled, to)


def write_manifest(distilled: DistilledSet, to: Path) -> None:
    """The set's manifest: where a set comes from goes with it."""
    write_bytes(to / "d3s2-manifest.json", json_bytes(distilled.manifest))


def _unchanged(distilled: DistilledSet, file: str, digest: str) -> bytes:
    path = own_file(distilled.folder, file)
    content = read_bytes(path, "a file of the set")
    if sha256_bytes(content) != digest:
        raise StoreError(f"{path}: was changed after it was written; `d3s2 verify` lists every such file.")
    return content
