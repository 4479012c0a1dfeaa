"""imagefolder: pictures beside a metadata.parquet that names them, for `datasets.load_dataset(folder)`.

Source: https://huggingface.co/docs/datasets/image_dataset#imagefolder (`file_name`, `*_file_name`).
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from d3s2.base.formats.files import writing
from d3s2.base.progress import Progress
from d3s2.store.card import CARD_HEAD
from d3s2.store.exports.hf_parquet import fact_kinds, facts_of, write_names
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.reader import DistilledSet

CARD = (
    CARD_HEAD
    + """# {name}

{num_items} distilled pairs, {num_classes} classes: PNG files in `train/images` and `train/masks`, and a row for each in
`train/metadata.parquet`. A value of a mask is a train id, 255 is ignored; `id2label.json` names them.

```python
from datasets import load_dataset

train = load_dataset("imagefolder", data_dir="path/of/this/folder", split="train")
image, mask = train[0]["image"], train[0]["mask"]
```
"""
)


def export_imagefolder(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """Images and masks keep their bytes."""
    copy_pairs(distilled, to, "train/images", "train/masks", progress)
    kinds = {"file_name": pa.string(), "mask_file_name": pa.string(), **fact_kinds(distilled.items)}
    rows = [
        {
            **facts_of(item, [*kinds]),
            "file_name": f"images/{Path(item.image_file).name}",
            "mask_file_name": f"masks/{item.item_id}.png",
        }
        for item in distilled.items
    ]
    with writing(to / "train" / "metadata.parquet") as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([*kinds.items()])), part)
    write_names(distilled, to)
    write_about(distilled, to, CARD)
