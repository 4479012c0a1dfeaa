"""Data sets of the `datasets` library from local folders."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from d3s2.base.errors import DataError, UsageError
from d3s2.data.catalogue import open_dataset
from d3s2.data.census.counts import count_item

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
    with pytest.raises(DataError, match=r"colour/train, row 0: is a RGB image, expected an index mask"):
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
    with pytest.raises(
        UsageError, match=r"^Unknown split of .*saved 'trian': known are train\. Did you mean 'train'\?$"
    ):
        open_dataset("hf", "trian", root)


def test_rows_are_known_by_what_they_hold_and_not_by_the_fingerprint_beside_them(tmp_path: Path):
    options = {"classes": ["a", "b", "c"]}
    root = saved_to_disk(tmp_path / "saved")
    before = open_dataset("hf", "train", root, options)
    digest, stamp = before.pair_digest("00000000"), before.pair_stamp("00000000")
    state = (root / "train" / "state.json").read_bytes()
    copy = saved_to_disk(tmp_path / "copy")
    assert open_dataset("hf", "train", copy, options).pair_digest("00000000") == digest
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    pictures = {"image": [Image.fromarray(255 - PHOTO)] * 2, "label": [Image.fromarray(MASK)] * 2}
    other = tmp_path / "other"
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(pictures, features=features)}).save_to_disk(other)
    (other / "train" / "state.json").write_bytes(state)
    changed = open_dataset("hf", "train", other, options)
    assert changed.table._fingerprint == before.table._fingerprint
    assert changed.pair_digest("00000000") != digest
    assert changed.pair_stamp("00000000") != stamp


def rewritten(root: Path, change) -> Path:
    """The parquet file of a folder with the cells of its masks changed."""
    path = root / "data" / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    cells = [change(cell) for cell in table["mask"].to_pylist()]
    masks = pa.StructArray.from_arrays(
        [
            pa.array([cell["bytes"] for cell in cells], pa.binary()),
            pa.array([cell["path"] for cell in cells], pa.string()),
        ],
        names=["bytes", "path"],
    )
    pq.write_table(table.set_column(table.schema.get_field_index("mask"), "mask", masks), path)
    return root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cell: {**cell, "bytes": b"no picture"}, "is not an image that can be read; is the file damaged?"),
        (lambda cell: {**cell, "bytes": cell["bytes"][:-20]}, "is damaged: the file ends within a chunk, at byte "),
        (lambda cell: {**cell, "bytes": None, "path": None}, "column 'mask' holds no picture."),
    ],
)
def test_a_damaged_cell_is_named_by_its_row(tmp_path: Path, change, message: str):
    dataset = open_dataset("hf", "train", rewritten(as_parquet(tmp_path / "set", MASK), change))
    with pytest.raises(DataError) as error:
        dataset.mask("00000000")
    assert str(error.value).startswith(f"{tmp_path / 'set'}/train, row 0: {message}")
    assert (dataset.image("00000000") == PHOTO).all()


def test_a_picture_beside_the_table_is_read(tmp_path: Path):
    root = as_parquet(tmp_path / "set", MASK * 0)
    Image.fromarray(MASK).save(root / "beside.png")
    beside = {"bytes": None, "path": str(root / "beside.png")}
    dataset = open_dataset("hf", "train", rewritten(root, lambda _: beside))
    assert (dataset.mask("00000000") == MASK).all()


@pytest.mark.parametrize("name", ["{outside}/secret.png", "{outside}/set/../secret.png", "{outside}/set-2/secret.png"])
def test_a_table_cannot_name_a_picture_outside_the_data_set(tmp_path: Path, name: str):
    (tmp_path / "set-2").mkdir()
    for folder in (tmp_path, tmp_path / "set-2"):
        Image.fromarray(MASK).save(folder / "secret.png")
    secret = {"bytes": None, "path": name.format(outside=tmp_path)}
    dataset = open_dataset("hf", "train", rewritten(as_parquet(tmp_path / "set", MASK), lambda _: secret))
    for read in (dataset.mask, dataset.pair_digest):
        with pytest.raises(
            DataError, match=r"row 0: column 'mask' names the picture .*secret\.png, which lies outside"
        ):
            read("00000000")


def test_the_script_of_a_data_set_is_not_run(tmp_path: Path):
    (tmp_path / "scripted").mkdir()
    ran = tmp_path / "ran"
    (tmp_path / "scripted" / "scripted.py").write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(DataError, match="cannot be opened by the package datasets"):
        open_dataset("hf", "train", tmp_path / "scripted", {"classes": ["a"]})
    assert not ran.exists()


def test_text_that_is_not_utf_8_is_named(tmp_path: Path):
    root = rewritten(as_parquet(tmp_path / "set", MASK), lambda cell: {"bytes": None, "path": "QQQQ"})
    path = root / "data" / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"QQ\xff\xfe"))
    with pytest.raises(DataError, match=r"set/train.*UnicodeDecodeError"):
        open_dataset("hf", "train", root).mask("00000000")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"0": "stra\xdfe"}', "line 1 is not UTF-8"),
        (b"[1, 2]", "expected a class name for each id"),
        (b'{"0": ["a"]}', "expected a class name for each id"),
        (b'{"a": "b"}', "ids do not count up from 0"),
        (b'{"1": "b"}', "ids do not count up from 0"),
        (b'{"0": "b"', "cannot be read as JSON"),
        (100_000 * b"[", "cannot be read as JSON"),
    ],
)
def test_class_names_beside_the_table_that_are_none_are_named(tmp_path: Path, content: bytes, message: str):
    root = as_parquet(tmp_path / "set", MASK)
    (root / "id2label.json").write_bytes(content)
    with pytest.raises(DataError) as error:
        open_dataset("hf", "train", root)
    assert str(error.value).startswith(f"{root / 'id2label.json'}: {message}")
