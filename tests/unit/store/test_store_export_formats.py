"""A set that was exported and read back is the same set: ids, pixels, names, ignored pixels.

Read by the tool's own library where it is light enough to be here, else by what its documentation says of the layout.
"""

import ast
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import webdataset
import yaml
from PIL import Image
from test_store_export import SCENES, make
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil

from d3s2.base.errors import DataError
from d3s2.data.catalogue import open_dataset
from d3s2.data.label_space import LabelSpace
from d3s2.store.exporting import export
from d3s2.store.reader import DistilledSet
from d3s2.store.soft.labels import soft_from_bytes

Pair = tuple[str, np.ndarray, np.ndarray]
NAMES = list(SCENES.space.names)


def unshifted(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, 255, values.astype(int) - 1)


def values_of(path: Path) -> np.ndarray:
    picture = Image.open(path)
    assert picture.mode in ("L", "P")
    return np.asarray(picture)


def beside(images: Path, masks: Path) -> Iterator[Pair]:
    """Pairs of one stem in two folders."""
    assert sorted(path.stem for path in images.iterdir()) == sorted(path.stem for path in masks.iterdir())
    for path in sorted(images.iterdir()):
        yield path.stem, np.asarray(Image.open(path)), values_of(masks / f"{path.stem}.png")


def read_imagefolder(folder: Path, cache: Path) -> Iterator[Pair]:
    datasets = pytest.importorskip("datasets")
    train = datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(cache))
    assert {"image", "mask", "item_id", "source_id", "seed", "segmentation_after"} <= set(train.column_names)
    assert list(json.loads((folder / "id2label.json").read_text()).values()) == NAMES
    for row in train:
        assert row["mask"].mode == "L"
        yield row["item_id"], np.asarray(row["image"]), np.asarray(row["mask"])


def read_mmseg(folder: Path, _: Path) -> Iterator[Pair]:
    found: dict = {}
    exec((folder / "dataset.py").read_text(), found)
    config = found["train_dataset"]
    assert list(config["metainfo"]["classes"]) == NAMES
    assert config["metainfo"]["palette"] == SCENES.space.colours.tolist()
    assert (config["ignore_index"], config["reduce_zero_label"], config["img_suffix"]) == (255, False, ".png")
    yield from beside(*(folder / config["data_prefix"][key] for key in ("img_path", "seg_map_path")))


def read_ultralytics(folder: Path, _: Path) -> Iterator[Pair]:
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["names"] == dict(enumerate(NAMES))
    assert {"train", "val"} <= set(data)
    # A mask lies where the last `images` of its image's path is `masks_dir`.
    first, last = data["train"].rsplit("images", 1)
    yield from beside(folder / data["train"], folder / (first + data["masks_dir"] + last))


def read_lightly_train(folder: Path, _: Path) -> Iterator[Pair]:
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data["ignore_classes"] == [255]
    assert set(data["classes"]) == {*range(18), 255}
    assert [data["classes"][index]["name"] for index in range(18)] == NAMES
    assert all(about["labels"] == [value] for value, about in data["classes"].items())
    yield from beside(*(folder / data["train"][key] for key in ("images", "masks")))


def read_fiftyone(folder: Path, _: Path) -> Iterator[Pair]:
    targets = json.loads((folder / "mask_targets.json").read_text())
    assert targets == {str(index + 1): name for index, name in enumerate(NAMES)}
    for item_id, image, mask in beside(folder / "data", folder / "labels"):
        yield item_id, image, unshifted(mask)


def read_coco_panoptic(folder: Path, _: Path) -> Iterator[Pair]:
    content = json.loads((folder / "annotations" / "panoptic_train.json").read_text())
    assert {one["id"]: one["name"] for one in content["categories"]} == dict(enumerate(NAMES, 1))
    processor = DetrImageProcessorPil(format="coco_panoptic", do_resize=False, do_normalize=False, do_rescale=False)
    for about, target in zip(content["images"], content["annotations"], strict=True):
        image = Image.open(folder / "images" / "train" / about["file_name"])
        read = processor(
            images=image,
            annotations=target,
            masks_path=folder / "annotations" / "panoptic_train",
            return_tensors="np",
            do_convert_annotations=False,
        )
        (label,) = read["labels"]
        mask = np.full((about["height"], about["width"]), 255)
        for one, category in zip(label["masks"], label["class_labels"], strict=True):
            mask[one.astype(bool)] = category - 1
        for segment, box in zip(target["segments_info"], label["boxes"], strict=True):
            left, top, width, height = segment["bbox"]
            assert box.tolist() == [left, top, left + width - 1, top + height - 1]
            assert segment["area"] == np.count_nonzero(mask == segment["category_id"] - 1)
        yield about["file_name"].removesuffix(".png"), np.asarray(image), mask


def read_voc(folder: Path, _: Path) -> Iterator[Pair]:
    lines = (folder / "labelmap.txt").read_text().splitlines()
    colours = {}
    for line in lines[1:]:
        name, colour, parts, actions = line.split(":")
        assert (parts, actions) == ("", "")
        colours[tuple(map(int, colour.split(",")))] = name
    assert [*colours.values()] == [*NAMES, "ignored"]
    names = [*NAMES, *["-"] * (255 - len(NAMES)), "ignored"]
    assert (folder / "ImageSets/Segmentation/train.txt").read_text().splitlines() == list(SCENES.ids)
    for item_id, image, mask in beside(folder / "JPEGImages", folder / "SegmentationClass"):
        rgb = np.asarray(Image.open(folder / "SegmentationClass" / f"{item_id}.png").convert("RGB"))
        for value in np.unique(mask):
            (colour,) = np.unique(rgb[mask == value], axis=0)
            assert colours[tuple(colour.tolist())] == names[value]
        yield item_id, image, mask


def read_webdataset(folder: Path, _: Path) -> Iterator[Pair]:
    (shard,) = folder.glob("*.tar")
    train = webdataset.WebDataset(str(shard), shardshuffle=False).decode("rgb8", only=["image.png"])
    for sample in train:
        facts = json.loads(sample["json"]) if isinstance(sample["json"], bytes) else sample["json"]
        yield facts["item_id"], sample["image.png"], np.asarray(Image.open(io.BytesIO(sample["mask.png"])))


READERS: dict[str, Callable[[Path, Path], Iterator[Pair]]] = {
    "imagefolder": read_imagefolder,
    "mmseg": read_mmseg,
    "ultralytics": read_ultralytics,
    "lightly-train": read_lightly_train,
    "fiftyone": read_fiftyone,
    "coco-panoptic": read_coco_panoptic,
    "voc": read_voc,
    "webdataset": read_webdataset,
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of webdataset
@pytest.mark.parametrize("format_name", [*READERS])
def test_a_set_that_was_exported_and_read_back_is_the_same_set(
    tmp_path: Path, format_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    distilled = DistilledSet(make(tmp_path / "set"))
    found = [*READERS[format_name](export(tmp_path / "set", tmp_path / "to", format_name), tmp_path / "cache")]
    assert [item_id for item_id, _, _ in found] == list(distilled.ids)
    for item_id, image, mask in found:
        assert image.shape == (32, 48, 3)
        assert (image == distilled.image(item_id)).all()
        assert (mask == distilled.mask(item_id)).all()
        assert (mask[0] == 255).all()


@pytest.mark.parametrize(("format_name", "name"), [("hf", "hf"), ("imagefolder", "hf"), ("coco-panoptic",) * 2])
def test_d3s2_reads_its_own_exports(
    tmp_path: Path, format_name: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest.importorskip("datasets").config, "HF_DATASETS_CACHE", tmp_path / "cache")
    distilled = DistilledSet(make(tmp_path / "set"))
    again = open_dataset(name, "train", export(tmp_path / "set", tmp_path / "to", format_name))
    assert again.space.names == distilled.space.names
    for ours, theirs in zip(distilled.ids, again.ids, strict=True):
        assert (distilled.image(ours) == again.image(theirs)).all()
        assert (distilled.mask(ours) == again.mask(theirs)).all()


@pytest.mark.parametrize("format_name", [name for name in READERS if name != "webdataset"])
def test_soft_labels_lie_beside_the_pairs(tmp_path: Path, format_name: str) -> None:
    make(tmp_path / "set", soft=True)
    to = export(tmp_path / "set", tmp_path / "to", format_name)
    for item_id in SCENES.ids:
        copied = (to / f"soft/{item_id}.safetensors").read_bytes()
        assert copied == (tmp_path / f"set/soft/{item_id}.safetensors").read_bytes()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of webdataset
def test_soft_labels_are_in_the_shards(tmp_path: Path) -> None:
    distilled = DistilledSet(make(tmp_path / "set", soft=True))
    to = export(tmp_path / "set", tmp_path / "to", "webdataset")
    for sample, item_id in zip(
        webdataset.WebDataset(str(to / "train-000000.tar"), shardshuffle=False), distilled.ids, strict=True
    ):
        soft, stored = soft_from_bytes(sample["soft.safetensors"], item_id), distilled.soft(item_id)
        assert stored is not None
        assert (soft.probabilities() == stored.probabilities()).all()


@pytest.mark.parametrize("name", ["a:b", "# a", "ignored"])
def test_a_name_that_labelmap_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path / "set", LabelSpace("odd", (name, *NAMES[1:])))
    with pytest.raises(
        DataError, match=rf"^odd: the class name '{name}' cannot stand in labelmap.txt, .* export it as"
    ):
        export(tmp_path / "set", tmp_path / "to", "voc")
    assert not (tmp_path / "to").exists()


def test_classes_of_one_colour_get_others_in_labelmap(tmp_path: Path) -> None:
    make(tmp_path / "set", LabelSpace("grey", tuple(NAMES), palette=((9, 9, 9),) * 18))
    to = export(tmp_path / "set", tmp_path / "to", "voc")
    lines = (to / "labelmap.txt").read_text().splitlines()[1:]
    assert len({line.split(":")[1] for line in lines}) == 19
    assert [mask.tolist() for _, _, mask in beside(to / "JPEGImages", to / "SegmentationClass")] == [
        DistilledSet(tmp_path / "set").mask(item_id).tolist() for item_id in SCENES.ids
    ]


def test_a_class_called_ignored_does_not_fit_lightly_train(tmp_path: Path) -> None:
    make(tmp_path / "set", LabelSpace("odd", ("ignored", *NAMES[1:])))
    with pytest.raises(
        DataError, match=r"^odd: has a class 'ignored', which is what LightlyTrain's list of classes calls"
    ):
        export(tmp_path / "set", tmp_path / "to", "lightly-train")


def test_names_in_configs_are_data(tmp_path: Path) -> None:
    evil = "x', __import__('os').getcwd(), 'y: {a}"
    make(tmp_path / "set", LabelSpace("odd", (evil, *NAMES[1:])))
    config = export(tmp_path / "set", tmp_path / "mmseg", "mmseg") / "dataset.py"
    module = ast.parse(config.read_text())
    assert {call.func.id for call in ast.walk(module) if isinstance(call, ast.Call)} == {"dict"}
    (line,) = (line for line in config.read_text().splitlines() if line.startswith("    classes="))
    assert ast.literal_eval(line.strip().removeprefix("classes=").removesuffix(","))[0] == evil
    for name in ("ultralytics", "lightly-train"):
        data = yaml.safe_load((export(tmp_path / "set", tmp_path / name, name) / "data.yaml").read_text())
        assert evil in str(data.get("names") or data["classes"]) or repr(evil) in str(data)
