"""mmseg: MMSegmentation's `img_dir` and `ann_dir`, with a config that says the rest.

Source: https://mmsegmentation.readthedocs.io/en/latest/advanced_guides/add_datasets.html (BaseSegDataset).
"""

from pathlib import Path

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_text
from d3s2.base.progress import Progress
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.reader import DistilledSet

CONFIG = """# A config of MMSegmentation, which puts in the folder of this file for fileDirname.
data_root = '{{{{ fileDirname }}}}'
metainfo = dict(
    classes={classes!r},
    palette={palette!r},
)
train_dataset = dict(
    type='BaseSegDataset',
    data_root=data_root,
    data_prefix=dict(img_path='img_dir/train', seg_map_path='ann_dir/train'),
    img_suffix={suffix!r},
    seg_map_suffix='.png',
    reduce_zero_label=False,
    ignore_index=255,
    metainfo=metainfo,
    pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')],
)
"""

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes: `img_dir/train/<id>.png` and `ann_dir/train/<id>.png`, where a value
is the train id and 255 is ignored. `dataset.py` is the data set as a config of MMSegmentation, with names and colours:

```python
_base_ = ["path/of/this/folder/dataset.py"]
train_dataloader = dict(batch_size=8, dataset=_base_.train_dataset)
```

Set `pipeline` of `train_dataset` to the training pipeline of your model.
"""


def export_mmseg(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """img_dir/train, ann_dir/train and dataset.py; masks keep their bytes."""
    suffixes = sorted({Path(item.image_file).suffix for item in distilled.items})
    if len(suffixes) > 1:
        raise DataError(
            f"{distilled.folder}: has images as {' and '.join(suffixes)}, MMSegmentation reads one suffix; export it "
            "as hf."
        )
    copy_pairs(distilled, to, "img_dir/train", "ann_dir/train", progress)
    facts = {
        "classes": tuple(distilled.space.names),
        "palette": distilled.space.colours.tolist(),
        "suffix": suffixes[0],
    }
    write_text(to / "dataset.py", CONFIG.format(**facts))
    write_about(distilled, to, CARD)
