"""Exports are read back by the tools that they are made for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import DataError, StoreError, UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.store.export import export
from d3s2.store.items import ItemFacts
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soft_from_bytes, soften
from d3s2.store.writer import PROVENANCE, SetWriter

SCENES = Scenes("test", 3, (32, 48))


def make(folder: Path, space: LabelSpace = SCENES.space, soft: bool = False) -> Path:
    writer = SetWriter(folder, "digest", space)
    for index, item_id in enumerate(SCENES.ids):
        label = SCENES.mask(item_id).copy()
        label[0] = IGNORE
        opinion = soften(np.eye(space.num_classes)[SCENES.mask(item_id)].transpose(2, 0, 1)) if soft else None
        writer.write(item_id, SCENES.image(item_id), label, ItemFacts(f"s{index}", index, l_seg_after=0.5), opinion)
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
        assert row["l_seg_after"] == 0.5
        assert row["l_feat_after"] is None
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


@pytest.mark.parametrize("format_name", ["hf", "ade20k"])
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
    for name in ("hf", "ade20k"):
        with pytest.raises(StoreError, match=r"000002.png: was changed after it was written; `d3s2 verify` lists"):
            export(tmp_path / "set", tmp_path / "to", name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_wrong_calls_are_named(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(UsageError, match=r"^Unknown export format 'coco': known are ade20k, hf\.$"):
        export(tmp_path / "set", tmp_path / "to", "coco")
    with pytest.raises(StoreError, match=r"set: is already there and not empty; choose another folder to export to\.$"):
        export(tmp_path / "set", tmp_path / "set", "hf")
