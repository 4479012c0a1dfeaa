"""A data set whose root is a URL: the pairs of a local folder, and errors that name the URL."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image
from tiny_run import call

from d3s2.base.errors import D3S2Error
from d3s2.data.catalogue import open_dataset, open_split
from d3s2.data.dataset import FileDataset, read_pair
from d3s2.data.settings import DataSettings

MEMORY = "memory://bucket/mine"
YAML = """
name: mine
palette: palette.csv
images: {folder: "images/{split}"}
masks: {folder: "masks/{split}", encoding: colour}
splits: {train: {list_file: train.txt}, val: }
"""
COLOURS = np.array([[0, 0, 0], [128, 64, 128], [70, 70, 70]], dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A local data set with a palette, a list file, and a mask that no list names."""
    root = tmp_path / "data"
    for number, name in enumerate(("train/a", "train/deep/b", "train/c", "val/d")):
        kinds = np.random.default_rng(number).integers(0, 3, (6, 8))
        for side, pixels in (("images", COLOURS[kinds] + np.uint8(number)), ("masks", COLOURS[kinds])):
            path = root / side / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    (root / "palette.csv").write_text("name,r,g,b\nnone,0,0,0\nroad,128,64,128\nhouse,70,70,70\n")
    (root / "train.txt").write_text("deep/b\na\n")
    return root


@pytest.fixture
def yaml(tmp_path: Path) -> str:
    """A data set file that lies elsewhere."""
    (tmp_path / "mine.yaml").write_text(YAML)
    return str(tmp_path / "mine.yaml")


@pytest.fixture(params=["memory", "file", "simplecache"])
def url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The same data set at a URL."""
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/mine", recursive=True)
    yield {"memory": MEMORY, "file": folder.as_uri(), "simplecache": f"simplecache::{MEMORY}"}[request.param]
    store.rm("/bucket", recursive=True)


@pytest.fixture
def memory(folder: Path) -> Iterator[fsspec.AbstractFileSystem]:
    """The store in which the data set lies at `MEMORY`."""
    store = fsspec.filesystem("memory")
    store.put(str(folder), "/bucket/mine", recursive=True)
    yield store
    store.rm("/bucket", recursive=True)


def test_the_pairs_are_those_of_the_folder(folder: Path, url: str, yaml: str) -> None:
    for split, ids in (("train", ("deep__b", "a")), ("val", ("d",))):
        here, there = open_dataset(yaml, split, folder), open_dataset(yaml, split, url)
        assert there.ids == here.ids == ids
        assert there.space == here.space
        for item_id in ids:
            for one, other in zip(read_pair(here, item_id), read_pair(there, item_id), strict=True):
                assert (one == other).all()
            assert there.pair_digest(item_id) == here.pair_digest(item_id)


def test_a_data_set_at_a_url_travels_to_a_worker(folder: Path, yaml: str) -> None:
    dataset = open_dataset(yaml, "val", folder.as_uri())
    there = pickle.loads(pickle.dumps(dataset))
    assert (there.mask("d") == dataset.mask("d")).all()
    assert there.pair_stamp("d") == dataset.pair_stamp("d")


def test_a_file_that_was_written_again_has_another_stamp(memory: fsspec.AbstractFileSystem, yaml: str) -> None:
    before = open_dataset(yaml, "val", MEMORY)
    path = "/bucket/mine/masks/val/d.png"
    memory.pipe_file(path, memory.cat_file(path))
    after = open_dataset(yaml, "val", MEMORY)
    assert after.pair_stamp("d") != before.pair_stamp("d")
    assert after.pair_digest("d") == before.pair_digest("d")


def test_a_data_set_file_may_name_a_url_itself(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"root: {MEMORY}{YAML}")
    assert open_dataset(str(tmp_path / "own.yaml"), "val").ids == ("d",)


def test_a_run_keeps_the_url(memory: fsspec.AbstractFileSystem, yaml: str, tmp_path: Path) -> None:
    settings = DataSettings(dataset=yaml, root=MEMORY, test="val", size=(6, 8))
    again = DataSettings.model_validate(settings.model_dump(mode="json"))
    assert again.root == MEMORY
    assert open_split(again, "val").ids == ("d",)
    assert DataSettings(dataset=yaml, root="data/mine", size=(6, 8)).root == Path("data/mine")
    words = (yaml, "--root", MEMORY)
    assert call("doctor", "--dataset", *words) == 0


def damage(store: fsspec.AbstractFileSystem) -> str:
    store.pipe_file("/bucket/mine/masks/val/d.png", b"no picture")
    return MEMORY


def lonely(store: fsspec.AbstractFileSystem) -> str:
    store.rm("/bucket/mine/masks/val/d.png")
    store.pipe_file("/bucket/mine/masks/val/e.png", b"no picture")
    return MEMORY


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda _: "memory://nowhere", "mine: there is no folder memory://nowhere; give the folder"),
        (lambda _: "nope://bucket", r"root nope://bucket cannot be opened \(Protocol not known: nope\)"),
        (damage, f"{MEMORY}/masks/val/d.png: is not an image that can be read"),
        (lonely, rf"image {MEMORY}/images/val/d.png has no mask, expected {MEMORY}/masks/val/d\.bmp"),
    ],
)
def test_errors_name_the_url(memory: fsspec.AbstractFileSystem, tmp_path: Path, prepare, sentence: str) -> None:
    plain = YAML.replace(
        "palette: palette.csv", "palette: {none: [0, 0, 0], road: [128, 64, 128], house: [70, 70, 70]}"
    )
    (tmp_path / "plain.yaml").write_text(plain)
    with pytest.raises(D3S2Error, match=sentence):
        read_pair(open_dataset(str(tmp_path / "plain.yaml"), "val", prepare(memory)), "d")


def test_a_file_that_is_gone_since_it_was_listed_is_named(memory: fsspec.AbstractFileSystem, yaml: str) -> None:
    dataset = open_dataset(yaml, "val", MEMORY)
    assert isinstance(dataset, FileDataset)
    memory.rm("/bucket/mine/images/val/d.png")
    with pytest.raises(D3S2Error, match=f"{MEMORY}/images/val/d.png: cannot be read as an image .*check the address"):
        dataset.image("d")


def test_what_is_no_folder_of_pairs_is_refused_at_a_url() -> None:
    with pytest.raises(
        D3S2Error, match="'coco-panoptic' is read from a folder of this machine, got the root memory://x"
    ):
        open_dataset("coco-panoptic", "train", "memory://x")
