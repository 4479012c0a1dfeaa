"""ADE20K and COCO-Stuff in miniature: the published folders, file names and label values, a few drawn pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from d3s2.data.known.cocostuff import NUMBERS

SIZE_PX = (72, 96)


def write_ade20k(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """`root` with ADEChallengeData2016 as its archive unpacks: values 1..150, 0 where nothing is scored."""
    base = root / "ADEChallengeData2016"
    for folder, stem, count in (("training", "train", num_train), ("validation", "val", num_val)):
        for index in range(count):
            name = f"ADE_{stem}_{index + 1:08d}"
            image, mask = base / "images" / folder / f"{name}.jpg", base / "annotations" / folder / f"{name}.png"
            _write_pair(image, mask, index, values=range(1, 151), unscored=0)
    return root


def write_cocostuff164k(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """`root` as the commands in docs/datasets.md leave it: values 0..181 with eleven gaps, 255 for nothing scored."""
    for folder, count in (("train2017", num_train), ("val2017", num_val)):
        for index in range(count):
            name = f"{9 + 16 * index:012d}"
            image, mask = root / "images" / folder / f"{name}.jpg", root / "stuffthingmaps" / folder / f"{name}.png"
            _write_pair(image, mask, index, values=[number - 1 for number in NUMBERS], unscored=255)
    return root


def _write_pair(image: Path, mask: Path, index: int, values: Sequence[int], unscored: int) -> None:
    """Rectangles of classes, each in a colour of its own; every pair has its own classes, the last one among them."""
    height, width = SIZE_PX
    rng = np.random.default_rng(index)
    drawn = np.full(SIZE_PX, values[0], dtype=np.uint8)
    picture = np.full((height, width, 3), 90, dtype=np.uint8)
    for position in (*(rng.permutation(len(values))[:3]), len(values) - 1):
        top, left = (int(rng.integers(side // 2)) for side in SIZE_PX)
        here = slice(top, top + height // 3), slice(left, left + width // 3)
        drawn[here], picture[here] = values[position], rng.integers(256, size=3)
    drawn[:4] = unscored
    for path, content in ((image, picture), (mask, drawn)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
