"""Which files of a folder are images and which are masks: by words in their names, else by what they hold."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.files.image_files import FORMATS, INDEX_MODES
from d3s2.data.folder_plan import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES

MASK_WORDS = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "labelids",
        "labelid",
        "labeltrainids",
        "annotation",
        "annotations",
        "annot",
        "annots",
        "ann",
        "anns",
        "gt",
        "gtfine",
        "groundtruth",
        "seg",
        "segs",
        "segmentation",
        "segmentations",
        "segmentationclass",
        "semantic",
        "target",
        "targets",
        "stuffthingmaps",
        "lbl",
        "labelmap",
        "labelmaps",
        "trimap",
        "trimaps",
    ]
)
IMAGE_WORDS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "jpegimages",
        "leftimg",
        "photo",
        "photos",
        "picture",
        "pictures",
        "rgb",
        "input",
        "inputs",
        "frame",
        "frames",
    ]
)
OTHER_WORDS = frozenset(
    ["segmentationobject", "instance", "instances", "instanceids", "instanceid", "depth", "overlay", "overlays"]
)
"""Pictures that are neither."""

MAX_FILES = 2_000_000
SAMPLED = 6
"""Files of a group that are opened where no name tells."""
FEW = 64
"""A picture with at most so many values or colours is taken for a mask."""


def picture_files(root: Path, without: Iterable[Path] = ()) -> list[PurePosixPath]:
    """Every picture below `root`, relative to it, in name order; hidden folders are not entered.

    Args:
        root: the folder.
        without: files that are passed over.
    """
    passed = {path.resolve() for path in without}
    found: list[PurePosixPath] = []
    for parent, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = Path(parent).relative_to(root)
        for name in sorted(names):
            is_picture = Path(name).suffix.lower() in {*IMAGE_SUFFIXES, *MASK_SUFFIXES}
            if is_picture and not name.startswith(".") and (Path(parent) / name).resolve() not in passed:
                found.append(PurePosixPath(below.as_posix(), name))
        if len(found) > MAX_FILES:
            raise DataError(f"{root}: holds more than {MAX_FILES:,} pictures; give the folder of one data set.")
    return found


def images_and_masks(root: Path, files: Iterable[PurePosixPath]) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """The files that are images, and those that are masks; instance ids, depth and overlays are neither."""
    groups: dict[tuple[str, str, str | None], list[PurePosixPath]] = defaultdict(list)
    for file in files:
        groups[file.parent.as_posix(), file.suffix.lower(), role_in(file.stem)].append(file)
    images: list[PurePosixPath] = []
    masks: list[PurePosixPath] = []
    for (folder, suffix, told), members in sorted(groups.items(), key=lambda group: str(group[0])):
        # What a file itself says comes before what its folders say: `train/images_and_masks/a_mask.png`.
        role = told or role_of_folder(PurePosixPath(folder))
        if suffix in LOSSY_SUFFIXES and role != "other":
            role = "image"
        if role is None:
            role = "mask" if _hold_labels(root, members) else "image"
        if role != "other":
            (images if role == "image" else masks).extend(members)
    return sorted(images), sorted(masks)


def role_of_folder(folder: PurePosixPath) -> str | None:
    """By the words of a folder's name and of those above it, the nearest first."""
    return next((role for part in reversed(folder.parts) if (role := role_in(part, both=None))), None)


def role_in(name: str, both: str | None = "mask") -> str | None:
    """`image`, `mask` or `other`; None where no word of a name tells, `both` where it speaks of images and of masks."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    tokens = [*re.findall(r"[a-z]+", words.lower()), *re.findall(r"[a-z]+", name.lower())]
    spread = {word: re.sub(r"^(train(ing|val)?|val(id(ation)?)?|test(ing)?)", "", word) for word in tokens}
    known = {"other": OTHER_WORDS, "mask": MASK_WORDS, "image": IMAGE_WORDS}
    told = [role for role, names in known.items() if any(word in names or spread[word] in names for word in tokens)]
    return both if told == ["mask", "image"] else next(iter(told), None)


def _hold_labels(root: Path, members: list[PurePosixPath]) -> bool:
    """Whether most of a few files look like masks."""
    chosen = [members[int(at)] for at in np.linspace(0, len(members) - 1, min(SAMPLED, len(members)))]
    return 2 * sum(_holds_labels(root / one) for one in chosen) > len(chosen)


def _holds_labels(path: Path) -> bool:
    if path.suffix.lower() == ".mat":
        return True
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode in INDEX_MODES and picture.mode != "L":
                return True
            if picture.width * picture.height > Image.MAX_IMAGE_PIXELS:  # type: ignore[operator]
                return False
            pixels = np.asarray(picture.convert("L" if picture.mode == "L" else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        return False  # whoever reads it will say so
    flat = pixels.reshape(-1, 1 if pixels.ndim == 2 else 3).astype(np.int32)
    return len(np.unique(flat @ (1 << 8 * np.arange(flat.shape[1])))) <= FEW
