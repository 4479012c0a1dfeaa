"""ultralytics: YOLO's semantic segmentation, `images/` and `masks/` beside a data.yaml with `masks_dir`.

Source: https://docs.ultralytics.com/datasets/semantic
"""

from pathlib import Path

import yaml

from d3s2.base.formats.files import write_text
from d3s2.base.progress import Progress
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.reader import DistilledSet

HEAD = """# Without `path`, paths begin at the folder of this file. `val` has to be there: put real pairs into
# images/val and masks/val and name them here; until then training pairs stand in, and scores on them say nothing.
"""

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes: `images/train/<id>.png` and `masks/train/<id>.png`, where a value is
the train id and 255 is ignored.

```
yolo semantic train data=path/of/this/folder/data.yaml model=yolo26n-sem.pt
```
"""


def export_ultralytics(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """images/train, masks/train and data.yaml; images and masks keep their bytes."""
    copy_pairs(distilled, to, "images/train", "masks/train", progress)
    content = {
        "train": "images/train",
        "val": "images/train",
        "masks_dir": "masks",
        "names": dict(enumerate(distilled.space.names)),
    }
    write_text(to / "data.yaml", HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    write_about(distilled, to, CARD)
