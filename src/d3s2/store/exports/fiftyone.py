"""fiftyone: FiftyOne's `ImageSegmentationDirectory`, with the names of values as `mask_targets`.

Source: https://docs.voxel51.com/user_guide/import_datasets.html#imagesegmentationdirectory; a value of 0 is background,
which is not drawn (https://docs.voxel51.com/user_guide/using_datasets.html#semantic-segmentation).
"""

from pathlib import Path

from d3s2.base.formats.files import write_json
from d3s2.base.progress import Progress
from d3s2.store.exports.pairs import copy_pairs, shifted_by_one, write_about
from d3s2.store.reader import DistilledSet

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes: `data/<id>.png` and `labels/<id>.png`, where a value is the train id
plus one. 0 is ignored: FiftyOne takes it for background and does not draw it. `mask_targets.json` names the values.

```python
import json
import fiftyone as fo

folder = "path/of/this/folder"
dataset = fo.Dataset.from_dir(dataset_dir=folder, dataset_type=fo.types.ImageSegmentationDirectory)
with open(f"{{folder}}/mask_targets.json") as stream:
    dataset.default_mask_targets = {{int(value): name for value, name in json.load(stream).items()}}
dataset.save()
session = fo.launch_app(dataset)
```
"""


def export_fiftyone(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """data, labels and mask_targets.json: train id + 1, 0 ignored."""
    copy_pairs(distilled, to, "data", "labels", progress, encode=shifted_by_one)
    targets = {str(index + 1): name for index, name in enumerate(distilled.space.names)}
    write_json(to / "mask_targets.json", targets)
    write_about(distilled, to, CARD)
