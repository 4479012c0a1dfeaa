"""Known data sets in miniature: the published folders, file names and label values, a few drawn pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from d3s2.data.known.cityscapes import RAW_IDS
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


def write_cityscapes(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """`root` with leftImg8bit and gtFine as their archives unpack, in `_labelIds`: seven values have no class."""
    for split, count in (("train", num_train), ("val", num_val)):
        for index in range(count):
            stem = f"town/town_{index:06d}_000019"
            image = root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png"
            mask = root / "gtFine" / split / f"{stem}_gtFine_labelIds.png"
            _write_pair(image, mask, index, values=sorted(RAW_IDS), unscored=3)
    return root


def write_voc2012(root: Path, num_train: int = 4, num_val: int = 2) -> Path:
    """`root` with VOCdevkit/VOC2012 and the augmented annotations: values 0..20, 255 on borders."""
    base = root / "VOCdevkit" / "VOC2012"
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, masks, count in (("trainaug", "SegmentationClassAug", num_train), ("val", "SegmentationClass", num_val)):
        names = [f"2007_{split}{index:06d}" for index in range(count)]
        for index, name in enumerate(names):
            image, mask = base / "JPEGImages" / f"{name}.jpg", base / masks / f"{name}.png"
            _write_pair(image, mask, index, values=range(21), unscored=255)
        (lists / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
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
