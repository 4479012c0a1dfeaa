"""coco-panoptic: COCO's panoptic JSON and its PNG of segment ids; each class of an image is one segment of stuff.

Source: https://cocodataset.org/#format-data, section 4 (an id is R + 256 G + 256^2 B; 0 is no segment).
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from d3s2.base.formats.files import write_bytes
from d3s2.base.progress import Progress
from d3s2.base.train_ids import IGNORE
from d3s2.data.files import png_bytes
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.items import json_bytes
from d3s2.store.reader import DistilledSet

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes, as COCO lays out panoptic data: images in `images/train`, segments
in `annotations/panoptic_train.json`, their ids in `annotations/panoptic_train/<id>.png`. Each class that an image holds
is one segment; its `id` and its `category_id` are the train id plus one, as COCO counts from 1, and 0 is ignored.
"""


def export_coco_panoptic(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """images/train, annotations/panoptic_train and annotations/panoptic_train.json."""
    copy_pairs(distilled, to, "images/train", "annotations/panoptic_train", progress, encode=_segment_ids)
    images, annotations = [], []
    for number, item in enumerate(distilled.items, 1):
        mask = distilled.mask(item.item_id)
        height, width = mask.shape
        name = Path(item.image_file).name
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        segments = [_segment(mask, int(value)) for value in np.unique(mask) if value != IGNORE]
        annotations.append({"image_id": number, "file_name": f"{item.item_id}.png", "segments_info": segments})
    content = {
        "info": {"description": distilled.name},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": index + 1, "name": name, "supercategory": "", "isthing": 0, "color": colour}
            for index, (name, colour) in enumerate(
                zip(distilled.space.names, distilled.space.colours.tolist(), strict=True)
            )
        ],
    }
    write_bytes(to / "annotations" / "panoptic_train.json", json_bytes(content))
    write_about(distilled, to, CARD)


def _segment_ids(mask: UInt8[np.ndarray, "h w"]) -> bytes:
    """At most 255 segments: the id is the red channel."""
    red = np.where(mask == IGNORE, 0, mask + 1).astype(np.uint8)
    return png_bytes(np.stack([red, np.zeros_like(red), np.zeros_like(red)], axis=-1))


def _segment(mask: UInt8[np.ndarray, "h w"], train_id: int) -> dict[str, Any]:
    here = mask == train_id
    rows, columns = np.flatnonzero(here.any(axis=1)), np.flatnonzero(here.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "id": train_id + 1,
        "category_id": train_id + 1,
        "area": int(here.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "iscrowd": 0,
    }
