"""The inspection reports what is wrong with a data set on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

from d3s2.data.inspection import inspect_dataset


def draw(path: Path, value: int = 0, size: tuple[int, int] = (4, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)


def test_counts_partners_and_the_first_bad_file_are_reported(tmp_path: Path):
    for name in "abc":
        draw(tmp_path / "train" / f"{name}.png")
        draw(tmp_path / "trainannot" / f"{name}.png", value=12 if name == "b" else 0)
    draw(tmp_path / "train" / "d.png")
    report = inspect_dataset("camvid", tmp_path)
    train, val, _ = report.splits
    assert (train.num_found, train.num_expected, train.num_problems, train.num_read) == (3, 367, 1, 2)
    assert train.problems[0].startswith(f"image {tmp_path / 'train' / 'd.png'} has no mask")
    assert train.first_bad is not None
    assert train.first_bad.startswith(f"{tmp_path / 'trainannot' / 'b.png'}: label 12 is outside CamVid's 0..10")
    assert val.num_found == 0
    assert val.problems[0].startswith("camvid/val: there is no folder of images")
    assert not report.is_whole


def test_a_pair_of_two_sizes_is_bad(tmp_path: Path):
    draw(tmp_path / "val" / "a.png")
    draw(tmp_path / "valannot" / "a.png", size=(4, 7))
    report = inspect_dataset("camvid", tmp_path, splits=("val",))
    assert report.splits[0].first_bad == (
        "camvid/val: 'a' has an image of 4 x 6 px and a mask of 4 x 7 px (height x width); a pair must have one size."
    )


def test_a_whole_data_set_is_whole(tmp_path: Path):
    draw(tmp_path / "images" / "a.png")
    draw(tmp_path / "masks" / "a.png")
    (tmp_path / "mine.yaml").write_text(
        "{name: mine, classes: [a, b], images: {folder: images}, masks: {folder: masks}, splits: {train: }}"
    )
    assert inspect_dataset(str(tmp_path / "mine.yaml"), None).is_whole
    drawn = inspect_dataset("scenes", None, options={"count": 4}, max_read=2)
    assert drawn.is_whole
    assert [split.num_found for split in drawn.splits] == [4, 4, 4]
