"""hf: Parquet with image and mask columns, for `datasets.load_dataset(folder)`.

Source: https://huggingface.co/docs/datasets/image_dataset and the feature `Image` (a struct of bytes and path).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from d3s2.base.formats.files import write_bytes, write_text, writing
from d3s2.base.progress import Progress
from d3s2.store.card import ABOUT_TEXT, CLASSES_TEXT, card_facts
from d3s2.store.exports.croissant import croissant
from d3s2.store.exports.pairs import image_bytes, mask_bytes, soft_bytes, write_manifest
from d3s2.store.items import Item, json_bytes
from d3s2.store.reader import DistilledSet

ITEMS_PER_SHARD = 1000
ITEMS_PER_GROUP = 50
"""Rows that are in memory at once."""

LOADING_TEXT = """
## Loading

```python
from datasets import load_dataset

train = load_dataset("path/of/this/folder", split="train")   # or its id on the hub
image, mask = train[0]["image"], train[0]["mask"]
# Recipes that expect another name: train = train.rename_column("mask", "label")
```

`mask` holds train ids, 255 is ignored; `id2label.json` names them. `croissant.json` describes the columns
(https://mlcommons.org/croissant), `d3s2-manifest.json` where the pairs come from.

## Licence

Images follow from the licences of the source data and of the generator, which this card does not know: add `license` at
its top.

"""

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The hub's names of sizes, by the count that each lies below."""

PICTURE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
BEFORE, AFTER = "_before", "_after"  # of columns of energies


def export_hf(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """Images and masks keep their bytes; soft labels are the bytes of their files."""
    items = distilled.items
    schema = _schema(items)
    num_shards = -(-len(items) // ITEMS_PER_SHARD)
    shards = []
    with progress.task("export", len(items)) as task:
        for shard in range(num_shards):
            path = to / "data" / f"train-{shard:05d}-of-{num_shards:05d}.parquet"
            with writing(path) as part, pq.ParquetWriter(part, schema, compression="none") as writer:
                for group in _groups(items[shard * ITEMS_PER_SHARD : (shard + 1) * ITEMS_PER_SHARD]):
                    rows = [_row(distilled, item, schema) for item in group]
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                    task.advance(len(rows))
            shards.append(path)
    write_names(distilled, to)
    kinds = {name: _dtype(kind) for name, kind in fact_kinds(items).items()}
    write_bytes(to / "croissant.json", json_bytes(croissant(distilled, to, shards, kinds)))
    write_text(to / "README.md", _card(distilled))
    write_manifest(distilled, to)


def _card(distilled: DistilledSet) -> str:
    """With the header that the hub reads."""
    num_items = len(distilled.items)
    header = {
        "task_categories": ["image-segmentation"],
        "tags": ["synthetic", "dataset-distillation", "d3s2"],
        "size_categories": [next((name for limit, name in SIZES if num_items < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    text = ABOUT_TEXT + LOADING_TEXT + CLASSES_TEXT
    facts = card_facts(distilled.folder, distilled.items, distilled.space, distilled.manifest)
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---\n{text.format(**facts)}"


def write_names(distilled: DistilledSet, to: Path) -> None:
    """id2label.json, as configs of transformers have it."""
    names = {str(index): name for index, name in enumerate(distilled.space.names)}
    write_text(to / "id2label.json", json.dumps(names, indent=2) + "\n")


def fact_kinds(items: Sequence[Item]) -> dict[str, pa.DataType]:
    """Columns of what is known of an item beside its files."""
    energies = sorted({name for item in items for name in (*item.energies_before, *item.energies_after)})
    kinds: dict[str, Any] = {"item_id": pa.string(), "source_id": pa.string()}
    kinds |= {"seed": pa.int64(), "candidate": pa.int32(), "ignored_px": pa.int64()}
    kinds |= {f"{name}{when}": pa.float64() for name in energies for when in (BEFORE, AFTER)}
    return kinds | {"teacher_accuracy": pa.float64()}


def facts_of(item: Item, names: Sequence[str]) -> dict[str, Any]:
    """The cells of an item in the columns called `names`, None where it has no such number."""
    row: dict[str, Any] = {f"{name}{BEFORE}": value for name, value in item.energies_before.items()}
    row |= {f"{name}{AFTER}": value for name, value in item.energies_after.items()}
    return row | {name: getattr(item, name, None) for name in names if name not in row}


def _schema(items: Sequence[Item]) -> pa.Schema:
    """Columns, and the note by which `datasets` knows that two of them are pictures."""
    kinds = {"image": PICTURE, "mask": PICTURE, **fact_kinds(items)}
    if any(item.soft_file for item in items):
        kinds["soft"] = pa.binary()
    features = {
        name: {"_type": "Image"} if kind == PICTURE else {"dtype": _dtype(kind), "_type": "Value"}
        for name, kind in kinds.items()
    }
    note = json.dumps({"info": {"features": features}})
    return pa.schema([pa.field(name, kind) for name, kind in kinds.items()], metadata={"huggingface": note})


def _dtype(kind: pa.DataType) -> str:
    return "float64" if kind == pa.float64() else str(kind)


def _row(distilled: DistilledSet, item: Item, schema: pa.Schema) -> dict[str, Any]:
    row: dict[str, Any] = {
        "image": {"bytes": image_bytes(distilled, item), "path": Path(item.image_file).name},
        "mask": {"bytes": mask_bytes(distilled, item), "path": Path(item.label_file).name},
    }
    if "soft" in schema.names:
        row["soft"] = soft_bytes(distilled, item)
    return row | facts_of(item, [name for name in schema.names if name not in row])


def _groups(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), ITEMS_PER_GROUP):
        yield items[start : start + ITEMS_PER_GROUP]
