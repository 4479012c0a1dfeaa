"""Exports are read back by the tools that they are made for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from d3s2.base.errors import DataError, StoreError, UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.store.exporting import export
from d3s2.store.exports.table import EXPORTS
from d3s2.store.items import ItemFacts
from d3s2.store.manifest import PROVENANCE
from d3s2.store.publishing import Destination
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.soft.labels import soft_from_bytes
from d3s2.store.writer import SetWriter

SCENES = Scenes("test", 3, (32, 48))


def make(folder: Path, space: LabelSpace = SCENES.space, soft: bool = False) -> Path:
    writer = SetWriter(folder, "digest", space)
    for index, item_id in enumerate(SCENES.ids):
        label = SCENES.mask(item_id).copy()
        label[0] = IGNORE
        labels = torch.from_numpy(SCENES.mask(item_id)).long()
        opinion = soften(F.one_hot(labels, space.num_classes).permute(2, 0, 1).double(), cell_px=8) if soft else None
        writer.write(
            item_id,
            SCENES.image(item_id),
            label,
            ItemFacts(f"s{index}", index, energies_after={"segmentation": 0.5}),
            opinion,
        )
    writer.finish({key: {} for key in PROVENANCE} | {"name": "tiny"})
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_hf_is_read_by_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    distilled = DistilledSet(make(tmp_path / "set"))
    to = export(tmp_path / "set", tmp_path / "hf", "hf")
    train = datasets.load_dataset(str(to), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(train) == 3
    assert isinstance(train.features["image"], datasets.Image)
    assert isinstance(train.features["mask"], datasets.Image)
    for row, item_id in zip(train, SCENES.ids, strict=True):
        assert row["item_id"] == item_id
        assert row["segmentation_after"] == 0.5
        assert row["segmentation_before"] is None
        assert (np.asarray(row["image"]) == distilled.image(item_id)).all()
        assert row["mask"].mode == "L"
        assert (np.asarray(row["mask"]) == distilled.mask(item_id)).all()


def test_soft_labels_go_with_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    distilled = DistilledSet(make(tmp_path / "set", soft=True))
    to = export(tmp_path / "set", tmp_path / "hf", "hf")
    train = datasets.load_dataset(str(to), split="train", cache_dir=str(tmp_path / "cache"))
    for row, item_id in zip(train, SCENES.ids, strict=True):
        stored = distilled.soft(item_id)
        assert stored is not None
        assert (soft_from_bytes(row["soft"], item_id).probabilities() == stored.probabilities()).all()
    ade20k = export(tmp_path / "set", tmp_path / "ade", "ade20k")
    for item_id in SCENES.ids:
        copied = (ade20k / f"soft/training/{item_id}.safetensors").read_bytes()
        assert copied == (tmp_path / f"set/soft/{item_id}.safetensors").read_bytes()


def test_ade20k_shifts_by_one_and_keeps_zero_for_ignored(tmp_path: Path) -> None:
    distilled = DistilledSet(make(tmp_path / "set"))
    to = export(tmp_path / "set", tmp_path / "ade", "ade20k")
    assert sorted(path.stem for path in (to / "images/training").iterdir()) == list(SCENES.ids)
    for item_id in SCENES.ids:
        stored = np.asarray(Image.open(to / f"annotations/training/{item_id}.png"))
        # What MMSegmentation calls reduce_zero_label.
        reduced = np.where(stored == 0, 255, stored.astype(int) - 1)
        assert (reduced == distilled.mask(item_id)).all()
        image = (to / f"images/training/{item_id}.png").read_bytes()
        assert image == (tmp_path / f"set/images/{item_id}.png").read_bytes()
    assert (to / "classes.txt").read_text().splitlines() == list(SCENES.space.names)


@pytest.mark.parametrize("format_name", [*EXPORTS])
def test_an_export_has_the_same_bytes_twice(tmp_path: Path, format_name: str) -> None:
    make(tmp_path / "set")
    first = export(tmp_path / "set", tmp_path / "a", format_name)
    (tmp_path / "b").mkdir()
    assert content(first) == content(export(tmp_path / "set", tmp_path / "b", format_name))


def test_255_classes_do_not_fit_the_ade20k_layout(tmp_path: Path) -> None:
    make(tmp_path / "set", LabelSpace("wide", tuple(f"class {i}" for i in range(255))))
    with pytest.raises(DataError) as caught:
        export(tmp_path / "set", tmp_path / "ade", "ade20k")
    assert str(caught.value) == (
        "wide: has 255 classes, the ADE20K layout holds at most 254 (a value is the train id plus one, and 255 means "
        "ignored); export it as hf."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_damaged_set_leaves_nothing_behind(tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / "set/images/000002.png").write_bytes(b"")
    for name in EXPORTS:
        with pytest.raises(StoreError, match=r"000002.png: was changed after it was written; `d3s2 verify` lists"):
            export(tmp_path / "set", tmp_path / "to", name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_wrong_calls_are_named(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(UsageError, match=r"^Unknown export format 'coco': known are ade20k, coco-panoptic, "):
        export(tmp_path / "set", tmp_path / "to", "coco")
    with pytest.raises(StoreError, match=r"set: is already there and not empty; choose another folder to export to\.$"):
        export(tmp_path / "set", tmp_path / "set", "hf")


def test_a_link_is_no_folder_to_export_to(tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / "empty").mkdir()
    for target in ("empty", "nowhere"):
        (tmp_path / f"link-{target}").symlink_to(tmp_path / target)
        with pytest.raises(StoreError, match=r"is a link; give the folder itself to export to\.$"):
            export(tmp_path / "set", tmp_path / f"link-{target}", "hf")
    with pytest.raises(StoreError, match=r"set: is already there and not empty; choose another folder"):
        export(tmp_path / "set", tmp_path / "set", "hf")


@pytest.mark.parametrize("name", ["images/000001.png", "labels", "items.parquet"])
def test_a_link_inside_a_set_is_not_exported(tmp_path: Path, name: str) -> None:
    linked = make(tmp_path / "set") / name
    linked.rename(tmp_path / "secret")
    linked.symlink_to(tmp_path / "secret")
    for export_format in EXPORTS:
        with pytest.raises(StoreError, match="is a link, and links inside a set are not followed"):
            export(tmp_path / "set", tmp_path / "to", export_format)
    with pytest.raises(StoreError, match="is a link, and links inside a set are not followed"):
        Destination(str(tmp_path / "copy")).put_set(tmp_path / "set")
    assert not (tmp_path / "to").exists()
    assert not list((tmp_path / "copy").glob("manifest.json"))


def test_a_folder_beside_the_export_is_the_users(tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part" / "precious").write_text("mine")
    export(tmp_path / "set", tmp_path / "out", "ade20k")
    assert (tmp_path / ".out.part" / "precious").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", "out", "set"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    make(tmp_path / "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/out: cannot be written \("):
        export(tmp_path / "set", tmp_path / "file" / "out", "hf")


THREADS = """
import os, sys
from pathlib import Path
import d3s2.store.exporting as module
names = lambda: len(os.listdir("/proc/self/task"))
before = names()
module.export(Path(sys.argv[1]), Path(sys.argv[2]), "hf")
print(names() - before)
"""


def test_no_thread_of_arrow_is_left_when_an_export_ends(tmp_path: Path) -> None:
    # Such threads held Python objects while the interpreter ended, and aborted it in one of twelve cases.
    if not Path("/proc/self/task").exists():
        pytest.skip("no /proc here")
    make(tmp_path / "set")
    command = [sys.executable, "-c", THREADS, str(tmp_path / "set"), str(tmp_path / "out")]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert found.stdout.strip() == "0"


def test_cards_show_names_and_do_not_read_them(tmp_path: Path) -> None:
    evil = "<img src=x>[a](b)|`"
    space = LabelSpace(f"space # {evil}", (evil, *SCENES.space.names[1:]))
    writer = SetWriter(tmp_path / "set", "digest", space)
    item_id = SCENES.ids[0]
    writer.write(item_id, SCENES.image(item_id), SCENES.mask(item_id), ItemFacts(item_id, 0))
    writer.finish({**dict.fromkeys(PROVENANCE), "name": f"set\n# {evil}"})
    for name in EXPORTS:
        export(tmp_path / "set", tmp_path / name, name)
    shown = r"&lt;img src=x&gt;\[a\](b)\|\`"
    cards = [(tmp_path / name / "README.md").read_text() for name in ("set", *EXPORTS)]
    assert all(f"# set # {shown}\n" in card for card in cards)
    assert f"| 0 | {shown} |" in cards[0]
    assert f"`space # {evil.replace('`', chr(39))}`" in cards[0]
    assert not [card for card in cards if "<img" in card.replace(f"`space # {evil.replace('`', chr(39))}`", "")]
    assert (tmp_path / "ade20k" / "classes.txt").read_text().splitlines()[0] == evil
