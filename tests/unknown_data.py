"""Folders of data as people have them: one function a layout, small views drawn by `scenes`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from d3s2.data.known.scenes import Scenes

SCENES = Scenes("train", 10, (32, 48))
COLOURS = np.array([[0, 0, 0], [128, 64, 128], [70, 70, 70], [0, 128, 0]], dtype=np.uint8)
KINDS = len(COLOURS)
"""The masks of these folders hold four kinds of pixels."""


def kinds(item_id: str) -> np.ndarray:
    """A mask of the values 0 to 3, each in every mask."""
    mask = (SCENES.mask(item_id) % KINDS).astype(np.uint8)
    mask[0, :KINDS] = range(KINDS)
    return mask


def put(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def two_folders(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"images/{one}.jpg", SCENES.image(one))
        put(root / f"masks/{one}.png", kinds(one))
    return root


def one_folder(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"{one}.png", SCENES.image(one))
        put(root / f"{one}_mask.png", kinds(one))
    return root


def one_folder_by_extension(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"data/{one}.jpg", SCENES.image(one))
        put(root / f"data/{one}.png", kinds(one))
    return root


def split_folders(root: Path) -> Path:
    for at, one in enumerate(SCENES.ids):
        split = "train" if at < 7 else "val"
        put(root / f"leftImg8bit/{split}/ulm/ulm_{one}_leftImg8bit.png", SCENES.image(one))
        for kind in ("labelIds", "instanceIds"):
            put(root / f"gtFine/{split}/ulm/ulm_{one}_gtFine_{kind}.png", kinds(one))
        put(root / f"gtFine/{split}/ulm/ulm_{one}_gtFine_color.png", COLOURS[kinds(one)])
    return root


def splits_above(root: Path) -> Path:
    """As CamVid's: the name of the split is a part of the folder's."""
    for at, one in enumerate(SCENES.ids):
        split = "train" if at < 6 else "val" if at < 8 else "test"
        put(root / f"{split}/{one}.png", SCENES.image(one))
        put(root / f"{split}annot/{one}.png", kinds(one))
    return root


def list_files(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"JPEGImages/{one}.jpg", SCENES.image(one))
        put(root / f"SegmentationClass/{one}.png", kinds(one))
        put(root / f"SegmentationObject/{one}.png", kinds(one))
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\n".join(SCENES.ids[:6]) + "\n")
    (lists / "val.txt").write_text("\n".join(SCENES.ids[6:]) + "\n")
    (root / "train_notes.txt").write_text("taken in the rain\nand in the snow\n")
    return root


def colour_masks(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"img/{one}.png", SCENES.image(one))
        put(root / f"seg/{one}.png", COLOURS[kinds(one)])
    return root


def one_based(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"images/{one}.png", SCENES.image(one))
        mask = kinds(one) + 1
        mask[-1] = 255
        put(root / f"annotations/{one}.png", mask)
    return root


def sixteen_bits(root: Path) -> Path:
    values = np.array([0, 300, 1000, 65535], dtype=np.uint16)
    for one in SCENES.ids:
        put(root / f"rgb/{one}.png", SCENES.image(one))
        put(root / f"labels/{one}.tif", values[kinds(one)])
    return root


def binary(root: Path) -> Path:
    for one in SCENES.ids:
        put(root / f"images/{one}.png", SCENES.image(one))
        put(root / f"masks/{one}.png", np.where(kinds(one) > 1, 255, 0).astype(np.uint8))
    return root


def without_words(root: Path) -> Path:
    """No name tells; what the pictures hold does."""
    for one in SCENES.ids:
        noisy = SCENES.image(one) ^ np.random.default_rng(0).integers(0, 16, (32, 48, 3), dtype=np.uint8)
        put(root / f"a/{one}.png", noisy)
        put(root / f"b/{one}.png", kinds(one))
    return root


def with_predictions(root: Path) -> Path:
    """Masks of another kind lie beside, as many as there are masks."""
    for at, one in enumerate(SCENES.ids):
        split = "training" if at < 6 else "validation"
        put(root / f"images/{split}/{one}.jpg", SCENES.image(one))
        put(root / f"annotations/{split}/{one}.png", kinds(one))
        put(root / f"predictions/{one}.png", kinds(one) // 2)
    return root


def panoptic(root: Path) -> Path:
    for split, ids in (("train", SCENES.ids[:6]), ("val", SCENES.ids[6:])):
        content: dict = {"images": [], "annotations": []}
        for number, one in enumerate(ids):
            mask = kinds(one)
            put(root / f"{split}/{one}.jpg", SCENES.image(one))
            rgb = np.stack([mask, mask, np.zeros_like(mask)], axis=-1)
            put(root / f"annotations/panoptic_{split}/{one}.png", rgb)
            segments = [{"id": kind * 257, "category_id": 10 * kind} for kind in range(1, KINDS)]
            content["images"].append({"id": number, "file_name": f"{one}.jpg"})
            content["annotations"].append({"image_id": number, "file_name": f"{one}.png", "segments_info": segments})
        content["categories"] = [{"id": 10 * kind, "name": f"kind {kind}"} for kind in range(1, KINDS)]
        (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(content))
    return root


def hugging_face(root: Path) -> Path:
    """Parquet of one split, without names."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    pictures = {
        "image": [Image.fromarray(SCENES.image(one)) for one in SCENES.ids],
        "label": [Image.fromarray(kinds(one) + 1) for one in SCENES.ids],
    }
    (root / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(pictures, features=features)
    table.to_parquet(root / "data" / "train-00000-of-00001.parquet")
    return root


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    one.__name__: one
    for one in (
        two_folders,
        one_folder,
        one_folder_by_extension,
        split_folders,
        splits_above,
        list_files,
        colour_masks,
        one_based,
        sixteen_bits,
        binary,
        without_words,
        with_predictions,
        panoptic,
        hugging_face,
    )
}
