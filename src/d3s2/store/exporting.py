"""export: a distilled set in the form that other tools read."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from d3s2.base.errors import DataError, StoreError
from d3s2.base.formats.files import read_bytes, write_bytes, write_text, writing
from d3s2.base.formats.foreign_text import markdown_text
from d3s2.base.progress import SILENT, Progress, track
from d3s2.base.tables import Table
from d3s2.base.train_ids import IGNORE
from d3s2.data.files import png_bytes
from d3s2.store.card import CARD_HEAD
from d3s2.store.items import Item, json_bytes, own_file, sha256_bytes
from d3s2.store.reader import DistilledSet

ITEMS_PER_SHARD = 1000
ITEMS_PER_GROUP = 50
"""Rows that are in memory at once."""

MAX_ADE20K_CLASSES = 254
"""A value is the train id plus one, and tools that shift it back take 255 as ignored."""

HF_CARD = (
    CARD_HEAD
    + """# {name}

{num_items} distilled pairs, {num_classes} classes. `mask` holds train ids, 255 is ignored; `id2label.json` names them.

```python
from datasets import load_dataset

train = load_dataset("path/of/this/folder", split="train")
image, mask = train[0]["image"], train[0]["mask"]
# Recipes that expect another name: train = train.rename_column("mask", "label")
```
"""
)

ADE20K_CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes, in the layout of the ADE20K challenge: `images/training/<id>.png`
and `annotations/training/<id>.png`, where a value is the train id plus one and 0 is ignored.

MMSegmentation, with the lines of `classes.txt` as `classes`:

```python
dict(
    type="ADE20KDataset",
    data_root="path/of/this/folder",
    data_prefix=dict(img_path="images/training", seg_map_path="annotations/training"),
    img_suffix=".png",
    reduce_zero_label=True,
    metainfo=dict(classes=classes),
)
```

transformers: read the annotation as it is and pass `do_reduce_labels=True` to the image processor.
"""


def export(folder: Path, to: Path, format: str, progress: Progress = SILENT) -> Path:  # noqa: A002
    """Writes a distilled set to the new folder `to`, which appears complete or not at all.

    Args:
        folder: a finished set.
        to: must be absent or empty.
        format: a name in EXPORTS, or the user's own function as 'package.module:object'.

    Raises:
        UsageError: the format is not known.
        DataError: the set does not fit the format.
        StoreError: `to` is not empty, the set is unfinished, or one of its files is damaged.
    """
    write = EXPORTS.load(format)
    distilled = DistilledSet(folder)
    if to.is_symlink():
        raise StoreError(f"{to}: is a link; give the folder itself to export to.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(f"{to}: is already there and not empty; choose another folder to export to.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=to.parent, prefix=f".{to.name}.", suffix=".part"))
        try:
            write(distilled, place / to.name, progress)
            if to.exists():
                to.rmdir()
            (place / to.name).rename(to)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        reason = error.strerror or error
        raise StoreError(f"{to}: cannot be written ({reason}); check the folder and its permissions.") from None
    return to


def export_hf(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """Parquet with image and mask columns, for `datasets.load_dataset(folder)`; soft labels are bytes."""
    items = distilled.items
    energies = sorted({name for item in items for name in (*item.energies_before, *item.energies_after)})
    schema = _hf_schema(energies, has_soft=any(item.soft_file for item in items))
    num_shards = -(-len(items) // ITEMS_PER_SHARD)
    with progress.task("export", len(items)) as task:
        for shard in range(num_shards):
            path = to / "data" / f"train-{shard:05d}-of-{num_shards:05d}.parquet"
            with writing(path) as part, pq.ParquetWriter(part, schema, compression="none") as writer:
                for group in _groups(items[shard * ITEMS_PER_SHARD : (shard + 1) * ITEMS_PER_SHARD]):
                    rows = [_hf_row(distilled, item, schema) for item in group]
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                    task.advance(len(rows))
    names = {str(index): name for index, name in enumerate(distilled.space.names)}
    write_text(to / "id2label.json", json.dumps(names, indent=2) + "\n")
    _write_common(distilled, to, HF_CARD)


def export_ade20k(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """images/training and annotations/training of the ADE20K challenge: train id + 1, 0 ignored."""
    space = distilled.space
    if space.num_classes > MAX_ADE20K_CLASSES:
        raise DataError(
            f"{space.name}: has {space.num_classes} classes, the ADE20K layout holds at most {MAX_ADE20K_CLASSES} "
            "(a value is the train id plus one, and 255 means ignored); export it as hf."
        )
    shifted = np.zeros(256, dtype=np.uint8)
    shifted[: space.num_classes] = np.arange(1, space.num_classes + 1)
    shifted[IGNORE] = 0
    for item in track(progress, "export", distilled.items, len(distilled.items)):
        image = _file_bytes(distilled, item.image_file, item.image_sha256)
        _file_bytes(distilled, item.label_file, item.label_sha256)
        write_bytes(to / "images" / "training" / Path(item.image_file).name, image)
        label = png_bytes(shifted[distilled.mask(item.item_id)])
        write_bytes(to / "annotations" / "training" / f"{item.item_id}.png", label)
        soft = _soft_bytes(distilled, item)
        if soft is not None:
            write_bytes(to / "soft" / "training" / f"{item.item_id}.safetensors", soft)
    write_text(to / "classes.txt", "\n".join(space.names) + "\n")
    _write_common(distilled, to, ADE20K_CARD)


EXPORTS: Table[Callable[[DistilledSet, Path, Progress], None]] = Table(
    "export format", {"hf": "d3s2.store.exporting:export_hf", "ade20k": "d3s2.store.exporting:export_ade20k"}
)
"""Writes a set to a folder that does not exist yet."""


PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
BEFORE, AFTER = "_before", "_after"  # of columns of energies


def _hf_schema(energies: Sequence[str], *, has_soft: bool) -> pa.Schema:
    """Columns, and the note by which `datasets` knows that two of them are pictures."""
    kinds: dict[str, Any] = {"image": PICTURE, "mask": PICTURE, "item_id": pa.string(), "source_id": pa.string()}
    kinds |= {"seed": pa.int64(), "candidate": pa.int32(), "ignored_px": pa.int64()}
    kinds |= {f"{name}{when}": pa.float64() for name in energies for when in (BEFORE, AFTER)}
    kinds |= {"teacher_accuracy": pa.float64()}
    kinds |= {"soft": pa.binary()} if has_soft else {}
    features = {
        name: {"_type": "Image"} if kind == PICTURE else {"dtype": _hf_dtype(kind), "_type": "Value"}
        for name, kind in kinds.items()
    }
    note = json.dumps({"info": {"features": features}})
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()], metadata={"huggingface": note})


def _hf_dtype(kind: pa.DataType) -> str:
    return "float64" if kind == pa.float64() else str(kind)


def _hf_row(distilled: DistilledSet, item: Item, schema: pa.Schema) -> dict[str, Any]:
    image = _file_bytes(distilled, item.image_file, item.image_sha256)
    label = _file_bytes(distilled, item.label_file, item.label_sha256)
    row: dict[str, Any] = {
        "image": {"bytes": image, "path": Path(item.image_file).name},
        "mask": {"bytes": label, "path": Path(item.label_file).name},
    }
    if "soft" in schema.names:
        row["soft"] = _soft_bytes(distilled, item)
    for name, value in item.energies_before.items():
        row[f"{name}{BEFORE}"] = value
    for name, value in item.energies_after.items():
        row[f"{name}{AFTER}"] = value
    return row | {name: getattr(item, name, None) for name in schema.names if name not in row}


def _soft_bytes(distilled: DistilledSet, item: Item) -> bytes | None:
    if item.soft_file is None:
        return None
    return _file_bytes(distilled, item.soft_file, item.soft_sha256 or "")


def _file_bytes(distilled: DistilledSet, file: str, digest: str) -> bytes:
    """A file of the set, unless it is damaged."""
    path = own_file(distilled.folder, file)
    content = read_bytes(path, "a file of the set")
    if sha256_bytes(content) != digest:
        raise StoreError(f"{path}: was changed after it was written; `d3s2 verify` lists every such file.")
    return content


def _groups(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), ITEMS_PER_GROUP):
        yield items[start : start + ITEMS_PER_GROUP]


def _write_common(distilled: DistilledSet, to: Path, card: str) -> None:
    facts = {
        "name": markdown_text(distilled.name),
        "num_items": len(distilled.items),
        "num_classes": distilled.space.num_classes,
    }
    write_text(to / "README.md", card.format(**facts))
    # Where a set comes from goes with it.
    write_bytes(to / "d3s2-manifest.json", json_bytes(distilled.manifest))
