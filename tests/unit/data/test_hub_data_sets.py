"""Data sets of the `datasets` library from local folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import DataError, UsageError
from d3s2.data.catalogue import open_dataset
from d3s2.data.census import count_item

datasets = pytest.importorskip("datasets")

MASK = np.random.default_rng(0).integers(0, 3, (6, 8), dtype=np.uint8)
PHOTO = np.random.default_rng(1).integers(0, 255, (6, 8, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def saved_to_disk(folder: Path, mask_column: str = "label") -> Path:
    features = datasets.Features({"image": datasets.Image(), mask_column: datasets.Image()})
    pictures = {"image": [Image.fromarray(PHOTO)] * 2, mask_column: [Image.fromarray(MASK)] * 2}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(pictures, features=features)}).save_to_disk(folder)
    return folder


def as_parquet(folder: Path, mask: np.ndarray) -> Path:
    features = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
    pictures = {"image": [Image.fromarray(PHOTO)], "mask": [Image.fromarray(mask)]}
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(pictures, features=features)
    table.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "id2label.json").write_text(json.dumps({"0": "a", "1": "b", "2": "c"}))
    return folder


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path):
    root = saved_to_disk(tmp_path / "saved")
    dataset = open_dataset("hf", "train", root, {"classes": ["a", "b"], "first_value": 1, "ignore_values": [0]})
    assert dataset.ids == ("00000000", "00000001")
    assert (dataset.image("00000001") == PHOTO).all()
    assert (dataset.mask("00000001") == np.array([255, 0, 1], dtype=np.uint8)[MASK]).all()
    assert count_item(dataset, "00000000").class_px.tolist() == [int((MASK == 1).sum()), int((MASK == 2).sum())]
    assert dataset.pair_stamp("00000000")


def test_a_folder_of_parquet_is_read_with_the_names_beside_it(tmp_path: Path):
    dataset = open_dataset("hf", "train", as_parquet(tmp_path / "parquet", MASK))
    assert dataset.space.names == ("a", "b", "c")
    assert (dataset.mask("00000000") == MASK).all()


def test_a_bad_row_is_named(tmp_path: Path):
    root = as_parquet(tmp_path / "parquet", MASK + 2)
    with pytest.raises(DataError, match=r"parquet/train, row 0: label 3 is outside"):
        open_dataset("hf", "train", root).mask("00000000")
    colour = as_parquet(tmp_path / "colour", PHOTO)
    with pytest.raises(DataError, match=r"colour/train, row 0: the mask is a RGB image, expected an index mask"):
        open_dataset("hf", "train", colour).mask("00000000")


def test_what_is_missing_is_named(tmp_path: Path):
    with pytest.raises(
        UsageError, match=r"^Data set 'hf' needs either options\.hub \(an id on the hub\) or a root folder"
    ):
        open_dataset("hf", "train")
    with pytest.raises(DataError, match=r"there is no folder .*nowhere; give the folder"):
        open_dataset("hf", "train", tmp_path / "nowhere")
    root = saved_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match=r"saved/train: there are no class names; give them in options\.classes\.$"):
        open_dataset("hf", "train", root)
    with pytest.raises(DataError, match=r"there is no column 'target' of images, found image, label; name the columns"):
        open_dataset("hf", "train", root, {"mask_column": "target"})
    with pytest.raises(DataError, match=r"saved/test: cannot be opened by the package datasets \(KeyError: 'test'\)"):
        open_dataset("hf", "test", root)
