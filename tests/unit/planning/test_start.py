"""`d3s2 init`: what it writes for every layout that it knows is read by d3s2, and gives the data's own pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import call
from unknown_data import (
    COLOURS,
    KINDS,
    LAYOUTS,
    SCENES,
    colour_masks,
    kinds,
    one_folder,
    put,
    split_folders,
    two_folders,
)

from d3s2.data.catalogue import open_dataset
from d3s2.pipeline.config import RunConfig
from d3s2.planning.first_run import AREA_PX, working_size
from d3s2.recipes import load_run

SPLITS = {
    "split_folders": ("train", 7, "val", 3),
    "splits_above": ("train", 6, "test", 2),
    "list_files": ("train", 6, "val", 4),
    "with_predictions": ("training", 6, "validation", 4),
    "panoptic": ("train", 6, "val", 4),
    "hugging_face": ("train[:80%]", 8, "train[80%:]", 2),
}
"""Train, its pairs, test, its pairs; otherwise every fifth pair is for testing."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "cache")


def begun(root: Path, out: Path, *words: str) -> RunConfig:
    assert call("init", str(root), "--out", str(out), "--device", "cpu", *words) == 0
    return load_run(str(out / "run.yaml"))


def expected(layout: str, item_id: str) -> np.ndarray:
    mask = kinds(item_id)
    if layout == "one_based":
        mask[-1] = 255
    if layout == "binary":
        mask = (mask > 1).astype(np.uint8)
    if layout == "panoptic":
        mask = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
    return mask


@pytest.mark.parametrize("layout", [*LAYOUTS])
def test_what_is_written_is_read_and_gives_the_datas_own_pixels(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = begun(LAYOUTS[layout](tmp_path / "data"), tmp_path / "out")
    said = capsys.readouterr().out
    train, num_train, test, num_test = SPLITS.get(layout, ("train", 8, "test", 2))
    assert (config.data.train, config.data.test) == (train, test)
    assert f"{train}: {num_train} pairs (distilled)" in said
    assert f"{test}: {num_test} pairs (students are scored on it)" in said
    used = []
    for split, count in ((train, num_train), (test, num_test)):
        dataset = open_dataset(config.data.dataset, split, config.data.root, config.data.options)
        assert len(dataset.ids) == count
        for position, item_id in enumerate(dataset.ids):
            source = SCENES.ids[position + len(used)] if layout == "hugging_face" else item_id[-6:]
            truth = expected(layout, source)
            if layout == "colour_masks":
                names = [f"colour_{r:02x}{g:02x}{b:02x}" for r, g, b in COLOURS.tolist()]
                truth = np.array([dataset.space.names.index(name) for name in names])[truth]
            assert (dataset.mask(item_id) == truth).all()
            assert dataset.image(item_id).shape == (32, 48, 3)
        used += dataset.ids if layout != "hugging_face" else SCENES.ids[len(used) : len(used) + count]
    assert len(set(used)) == len(used)
    picture = Image.open(tmp_path / "out" / "pairs.png")
    assert picture.width > 600
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100
    assert config.data.size == (32, 48)


@pytest.mark.parametrize("layout", ["panoptic", "hugging_face"])
def test_a_run_of_a_known_data_set_begins(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(LAYOUTS[layout](tmp_path / "data"), tmp_path / "out")
    capsys.readouterr()
    run = str(tmp_path / "out/run.yaml")
    assert call("select", run, "--out", str(tmp_path / "run")) == 0
    assert len(capsys.readouterr().out.splitlines()) == load_run(run).select.num_masks


def test_what_the_folder_cannot_tell_is_said_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(colour_masks(tmp_path / "data"), tmp_path / "out")
    said = capsys.readouterr().out
    assert "What the classes are called" in said
    assert "Whether black is a class" in said
    assert "every pair number 5 in name order is for testing" in said
    text = (tmp_path / "out/dataset.yaml").read_text()
    assert text.count("# TODO") == 2
    assert '"colour_804080": [128, 64, 128]   # in 10 masks' in text


def test_as_json_the_findings_are_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(LAYOUTS["sixteen_bits"](tmp_path / "data"), tmp_path / "out", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["contents"]["bits"] == 16
    assert found["contents"]["values"] == {"0": 10, "300": 10, "1000": 10, "65535": 10}
    assert found["splits"] == {"test": 2, "train": 8}
    assert {Path(one).name for one in found["files"]} == {
        "dataset.yaml",
        "run.yaml",
        "pairs.png",
        "train.txt",
        "test.txt",
    }


@pytest.mark.parametrize("name", ["dataset.yaml", "run.yaml", "pairs.png", "train.txt"])
def test_no_file_is_replaced_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    root = two_folders(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    words = ("init", str(root), "--out", str(tmp_path / "out"), "--device", "cpu")
    assert call(*words) == 1
    assert f"{name}: is already there; choose another folder by --out" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert (tmp_path / "out" / name).read_text() == "mine"
    assert call(*words, "--overwrite") == 0
    assert (tmp_path / "out" / name).read_bytes() != b"mine"


def test_the_data_folder_may_be_the_place_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(one_folder(tmp_path / "data"))
    begun(Path(), Path())
    config = begun(Path(), Path(), "--overwrite")
    monkeypatch.chdir(tmp_path)
    assert len(open_dataset(config.data.dataset, "train").ids) == 8


def test_files_without_a_partner_are_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = split_folders(tmp_path / "data")
    next((root / "gtFine/train/ulm").glob("*_labelIds.png")).unlink()
    config = begun(root, tmp_path / "out")
    assert "train: 6 pairs, 1 files without a partner (distilled)" in capsys.readouterr().out
    assert len(open_dataset(config.data.dataset, "train").ids) == 6


def test_names_and_colours_that_lie_beside_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = two_folders(tmp_path / "index")
    (root / "classes.txt").write_text("sky\nroad\nhouse\ntree\n")
    config = begun(root, tmp_path / "out")
    assert open_dataset(config.data.dataset, "train").space.names == ("sky", "road", "house", "tree")
    root = colour_masks(tmp_path / "colour")
    rows = [f"{name},{r},{g},{b}" for name, (r, g, b) in zip("wxyz", COLOURS.tolist(), strict=True)]
    (root / "class_dict.csv").write_text("\n".join(["name,r,g,b", *rows]))
    config = begun(root, tmp_path / "out2")
    dataset = open_dataset(config.data.dataset, "train")
    assert dataset.space.names == ("w", "x", "y", "z")
    assert (dataset.mask(dataset.ids[0]) == kinds(dataset.ids[0])).all()
    assert "What the classes are called" not in capsys.readouterr().out


def test_names_of_folders_cannot_leave_the_file(tmp_path: Path) -> None:
    config = begun(two_folders(tmp_path / 'a "b": [c] # d'), tmp_path / "out")
    assert config.name == 'a "b": [c] # d'
    assert len(open_dataset(config.data.dataset, "train").ids) == 8


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: root.mkdir(), "found 0 images and 0 masks, and no image and mask whose names are alike"),
        (lambda root: None, "there is no such folder; give the one that holds images and masks"),
        (lambda root: (two_folders(root), [one.unlink() for one in (root / "masks").iterdir()]), "and 0 masks"),
        (lambda root: [put(root / f"{k}/a.png", kinds(SCENES.ids[0])) for k in ("images", "masks")], "one pair only"),
    ],
)
def test_a_folder_of_no_pairs_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make, said: str
) -> None:
    make(tmp_path / "data")
    assert call("init", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--device", "cpu") == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_masks_of_instances_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = two_folders(tmp_path / "data")
    for at, path in enumerate(sorted((root / "masks").iterdir())):
        put(path, (np.arange(32 * 48).reshape(32, 48) + 30 * at).astype(np.uint16))
    assert call("init", str(root), "--out", str(tmp_path / "out"), "--device", "cpu") == 1
    assert "there are more than 255 values, the most classes that a data set can have; are they ids of instances?" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_each_layout_holds_what_it_should() -> None:
    assert KINDS == len(COLOURS) == 4
    assert all((np.unique(kinds(one)) == range(KINDS)).all() for one in SCENES.ids)


@pytest.mark.parametrize(("num_names", "first"), [(KINDS, 0), (KINDS + 3, 0), (KINDS - 1, 1)])
def test_a_list_of_names_may_name_classes_that_no_mask_holds_or_leave_0_without_one(
    tmp_path: Path, num_names: int, first: int, capsys: pytest.CaptureFixture[str]
) -> None:
    root = two_folders(tmp_path / "data")
    names = [f"kind {number}" for number in range(num_names)]
    (root / "classes.txt").write_text("\n".join(names))
    config = begun(root, tmp_path / "out")
    dataset = open_dataset(config.data.dataset, "train")
    assert list(dataset.space.names) == names
    for item_id in dataset.ids:
        assert (dataset.mask(item_id) == kinds(item_id) - np.uint8(first)).all()  # 0 - 1 is 255: ignored
    said = capsys.readouterr().out
    assert "What the classes are called" not in said
    assert ("classes.txt has names for 1 to" in said) == (first == 1)


def test_another_number_of_names_is_not_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = two_folders(tmp_path / "data")
    (root / "classes.txt").write_text("one\nother")
    begun(root, tmp_path / "out")
    assert "What the classes are called" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("picture", "size"), [((825, 550), (144, 96)), ((360, 480), (96, 128)), ((512, 512), (112, 112))]
)
def test_the_working_size_has_the_ratio_of_the_pictures(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert working_size({picture: 1}, AREA_PX["cpu"]) == (size, "stretch")
