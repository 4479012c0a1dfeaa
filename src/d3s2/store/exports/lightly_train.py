"""lightly-train: folders and classes as `lightly_train.train_semantic_segmentation` asks for them.

Source: https://docs.lightly.ai/train/stable/semantic_segmentation.html
"""

from pathlib import Path
from typing import Any

import yaml

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_text
from d3s2.base.progress import Progress
from d3s2.base.train_ids import IGNORE
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.reader import DistilledSet

HEAD = """# `val` has to be there: name folders of real pairs; until then training pairs stand in, and scores on them
# say nothing. A value of a mask that is no class is listed all the same, and then ignored.
"""
IGNORED = "ignored"

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes: `train/images/<id>.png` and `train/masks/<id>.png`, where a value is
the train id and 255 is ignored: it stands in `classes` and in `ignore_classes` of data.yaml.

```python
import lightly_train

lightly_train.train_semantic_segmentation(
    out="out/distilled",
    model="dinov3/vitt16-eomt",
    data="path/of/this/folder/data.yaml",
)
```
"""


def export_lightly_train(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """train/images, train/masks and data.yaml; images and masks keep their bytes."""
    if IGNORED in distilled.space.names:
        raise DataError(
            f"{distilled.space.name}: has a class '{IGNORED}', which is what LightlyTrain's list of classes calls "
            f"value {IGNORE}; export it as hf."
        )
    copy_pairs(distilled, to, "train/images", "train/masks", progress)
    values = {**dict(enumerate(distilled.space.names)), IGNORE: IGNORED}
    folders = {"images": "train/images", "masks": "train/masks"}
    content: dict[str, Any] = {
        "train": dict(folders),
        "val": dict(folders),
        "classes": {value: {"name": name, "labels": [value]} for value, name in values.items()},
        "ignore_classes": [IGNORE],
    }
    write_text(to / "data.yaml", HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    write_about(distilled, to, CARD)
