"""COCO's panoptic format, read as semantic masks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import DataError, UsageError
from d3s2.data.catalogue import open_dataset
from d3s2.data.dataset import read_pair

SEGMENTS = np.array([[0, 7, 7], [70_000, 70_000, 300]])
"""Ids that need one, two and three channels."""


def write_panoptic(root: Path, split: str = "train", num: int = 2, **changes: Any) -> Path:
    """Segments 7 and 300 are grass, 70,000 is a cat; 0 is no segment."""
    masks, images = root / f"annotations/panoptic_{split}", root / "images" / split
    masks.mkdir(parents=True)
    images.mkdir(parents=True)
    rgb = np.stack([SEGMENTS % 256, SEGMENTS // 256 % 256, SEGMENTS // 65536], axis=-1).astype(np.uint8)
    content: dict[str, Any] = {"info": {}, "images": [], "annotations": []}
    for number in range(1, num + 1):
        Image.fromarray(rgb).save(masks / f"{number:03d}.png")
        Image.fromarray(np.full((2, 3, 3), number, np.uint8)).save(images / f"{number:03d}.jpg", quality=95)
        segments = [(7, 21), (300, 21), (70_000, 4)]
        content["images"].append({"id": number, "file_name": f"{number:03d}.jpg", "height": 2, "width": 3})
        content["annotations"].append(
            {
                "image_id": number,
                "file_name": f"{number:03d}.png",
                "segments_info": [{"id": one, "category_id": kind, "iscrowd": 0, "area": 1} for one, kind in segments],
            }
        )
    content["categories"] = [
        {"id": 21, "name": "grass", "isthing": 0, "color": [0, 255, 0]},
        {"id": 4, "name": "cat", "isthing": 1, "color": [255, 0, 0]},
    ]
    (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(content | changes))
    return root


def test_a_pixels_class_is_the_category_of_its_segment(tmp_path: Path) -> None:
    dataset = open_dataset("coco-panoptic", "train", write_panoptic(tmp_path))
    assert dataset.space.names == ("cat", "grass")
    assert dataset.space.colours.tolist() == [[255, 0, 0], [0, 255, 0]]
    assert list(dataset.ids) == ["001", "002"]
    image, mask = read_pair(dataset, "002")
    assert mask.tolist() == [[255, 1, 1], [0, 0, 1]]
    assert image.shape == (2, 3, 3)


def test_what_the_json_says_of_a_mask_is_part_of_its_digest(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path) / "annotations/panoptic_train.json"
    before = open_dataset("coco-panoptic", "train", tmp_path)
    digests, stamps = before.pair_digest("001"), before.pair_stamp("001")
    path.write_text(path.read_text().replace('"id": 7, "category_id": 21', '"id": 7, "category_id": 4', 1))
    after = open_dataset("coco-panoptic", "train", tmp_path)
    assert after.mask("001").tolist() == [[255, 0, 0], [0, 0, 1]]
    assert after.pair_digest("001") != digests
    assert after.pair_stamp("001") != stamps
    assert after.pair_digest("002") == before.pair_digest("002")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"categories": [{"id": 21, "name": "grass"}]}, r"has a segment of category 4, which is not listed"),
        ({"images": []}, r"annotation '001.png' is of image 1, which is not listed"),
        ({"annotations": []}, r"holds not a single annotation"),
        ({"annotations": 3}, r"panoptic_train.json: key 'annotations': .*; is it a file of COCO's panoptic format\?"),
        ({"images": [{"id": 1, "file_name": "../../x.jpg"}, {"id": 2, "file_name": "a"}]}, "leads out of its folder"),
        ({"images": [{"id": 1, "file_name": "/etc/x.jpg"}, {"id": 2, "file_name": "a"}]}, "leads out of its folder"),
    ],
)
def test_a_file_that_contradicts_itself_is_a_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_dataset("coco-panoptic", "train", write_panoptic(tmp_path, **changes))


def test_a_segment_that_is_not_listed_is_named(tmp_path: Path) -> None:
    path = write_panoptic(tmp_path) / "annotations/panoptic_train.json"
    path.write_text(path.read_text().replace('"id": 300', '"id": 301'))
    with pytest.raises(DataError, match=r"001.png: holds segment 300, which its entry in the JSON file does not list"):
        open_dataset("coco-panoptic", "train", tmp_path).mask("001")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'coco-panoptic' needs the folder that it lies in"):
        open_dataset("coco-panoptic", "train")
    with pytest.raises(DataError, match=r"panoptic_val.json: there is no such file"):
        open_dataset("coco-panoptic", "val", tmp_path)
    with pytest.raises(UsageError, match=r"^Unknown split of .* 'trian': known are train\. Did you mean 'train'\?$"):
        open_dataset("coco-panoptic", "trian", write_panoptic(tmp_path))
    (tmp_path / "images/train").rename(tmp_path / "pictures")
    with pytest.raises(DataError, match=r"no folder of images, expected .*images/train or .*/train; name it in data"):
        open_dataset("coco-panoptic", "train", tmp_path)
    assert len(open_dataset("coco-panoptic", "train", tmp_path, {"images": "pictures"}).ids) == 2
