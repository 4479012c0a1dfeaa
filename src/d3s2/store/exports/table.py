"""The formats of an export by name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from d3s2.base.progress import Progress
from d3s2.base.tables import Table

if TYPE_CHECKING:
    from d3s2.store.reader import DistilledSet

EXPORTS: "Table[Callable[[DistilledSet, Path, Progress], None]]" = Table(
    "export format",
    {
        "hf": "d3s2.store.exports.hf_parquet:export_hf",
        "imagefolder": "d3s2.store.exports.hf_imagefolder:export_imagefolder",
        "ade20k": "d3s2.store.exports.ade20k:export_ade20k",
        "mmseg": "d3s2.store.exports.mmseg:export_mmseg",
        "ultralytics": "d3s2.store.exports.ultralytics:export_ultralytics",
        "lightly-train": "d3s2.store.exports.lightly_train:export_lightly_train",
        "fiftyone": "d3s2.store.exports.fiftyone:export_fiftyone",
        "coco-panoptic": "d3s2.store.exports.coco_panoptic:export_coco_panoptic",
        "voc": "d3s2.store.exports.voc:export_voc",
        "webdataset": "d3s2.store.exports.webdataset:export_webdataset",
    },
)
"""Each writes a set to a folder that does not exist yet."""
