"""Soft labels of pairs that are stored elsewhere: a folder with one file a pair, named after its id."""

from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_bytes, write_bytes
from d3s2.store.items import item_id_for
from d3s2.store.soft.labels import SoftLabels, soft_bytes, soft_from_bytes


def soft_path(folder: Path, item_id: str) -> Path:
    """Where the soft labels of a pair lie."""
    return folder / f"{item_id_for(item_id)}.safetensors"


def write_soft(folder: Path, item_id: str, soft: SoftLabels) -> None:
    """Stores the soft labels of a pair as those of a distilled set are stored."""
    write_bytes(soft_path(folder, item_id), soft_bytes(soft))


def read_soft(folder: Path, item_id: str, num_classes: int) -> SoftLabels:
    """Reads what `write_soft` wrote; raises StoreError where it is missing, damaged, or of other classes."""
    path = soft_path(folder, item_id)
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 evaluate` makes it again.")
    soft = soft_from_bytes(read_bytes(path, "soft labels"), str(path))
    if soft.num_classes != num_classes:
        raise StoreError(
            f"{path}: is of {soft.num_classes} classes, the data of {num_classes}; delete it, `d3s2 evaluate` makes it "
            "again."
        )
    return soft
