"""webdataset: tar shards of `<key>.image.png`, `<key>.mask.png` and `<key>.json`.

Source: https://github.com/webdataset/webdataset (files of one sample share what stands before the first dot).
"""

import io
import tarfile
from dataclasses import asdict
from pathlib import Path

from d3s2.base.formats.files import writing
from d3s2.base.progress import Progress
from d3s2.store.exports.hf_parquet import write_names
from d3s2.store.exports.pairs import image_bytes, mask_bytes, soft_bytes, write_about
from d3s2.store.items import Item, json_bytes
from d3s2.store.reader import DistilledSet

ITEMS_PER_SHARD = 1000

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes, in shards of at most 1,000: `<key>.image.png` (RGB),
`<key>.mask.png` (train ids, 255 ignored) and `<key>.json` (facts of the item, `item_id` its name). `id2label.json`
names the train ids.

```python
import webdataset as wds

train = wds.WebDataset("path/of/this/folder/{shards}", shardshuffle=False)
train = train.decode("pil", only=["image.png"]).to_tuple("image.png", "mask.png")
```

Decode `mask.png` with `PIL.Image.open`, whose values are the train ids; the decoder "pil" would make it RGB.
"""


def export_webdataset(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """train-000000.tar and on; images and masks keep their bytes, and the same set gives the same shards."""
    num_shards = -(-len(distilled.items) // ITEMS_PER_SHARD)
    with progress.task("export", len(distilled.items)) as task:
        for shard in range(num_shards):
            start = shard * ITEMS_PER_SHARD
            with writing(to / f"train-{shard:06d}.tar") as part, tarfile.open(part, "w") as tar:
                for offset, item in enumerate(distilled.items[start : start + ITEMS_PER_SHARD]):
                    for name, content in _files(distilled, item).items():
                        _add(tar, f"{start + offset:08d}.{name}", content)
                    task.advance()
    write_names(distilled, to)
    shards = "train-000000.tar" if num_shards == 1 else f"train-{{000000..{num_shards - 1:06d}}}.tar"
    write_about(distilled, to, CARD, shards=shards)


def _files(distilled: DistilledSet, item: Item) -> dict[str, bytes]:
    # A position is the key: an item's own id may hold a dot, which would end it.
    files = {
        f"image{Path(item.image_file).suffix}": image_bytes(distilled, item),
        "mask.png": mask_bytes(distilled, item),
        "json": json_bytes(asdict(item)),
    }
    soft = soft_bytes(distilled, item)
    return files if soft is None else {**files, "soft.safetensors": soft}


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Without a date or an owner."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))
