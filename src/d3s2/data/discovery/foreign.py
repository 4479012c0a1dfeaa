"""Folders that known data sets read: of Hugging Face `datasets`, and of COCO's panoptic format."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from d3s2.base.errors import DataError
from d3s2.base.progress import Progress, track
from d3s2.data.discovery.contents import MAX_READ, class_values, made_up_names
from d3s2.data.discovery.records import Contents, Findings, FoundSplit
from d3s2.data.hf import MASK_COLUMNS, HubDataset, open_hub, split_names
from d3s2.data.panoptic import JSON, open_panoptic

METADATA = ("metadata.parquet", "metadata.csv", "metadata.jsonl")
MASK_FILES = b"mask_file_name"
SLICES = ("[:80%]", "[80%:]")
"""Of a single split, as `datasets` slices one."""


def look_panoptic(root: Path, progress: Progress) -> Findings | None:
    """A folder in COCO's panoptic format; None where it is not one."""
    before, after = JSON.rsplit("/", 1)[1].split("{split}")
    for folder in ("annotations", "."):
        files = sorted((root / folder).glob(f"{before}*{after}"))
        if files:
            pattern = f"{folder}/{before}{{split}}{after}" if folder != "." else f"{before}{{split}}{after}"
            splits = [path.name.removeprefix(before).removesuffix(after) for path in files]
            return _panoptic(root, splits, {} if pattern == JSON else {"annotations": pattern}, progress)
    return None


def _panoptic(root: Path, names: list[str], options: dict[str, Any], progress: Progress) -> Findings:
    opened = {name: open_panoptic(name, root, options) for name in names}
    splits = {name: FoundSplit(num_pairs=len(one.ids)) for name, one in opened.items()}
    train, test = _train_and_test(root, names, "give it another JSON file, panoptic_test.json, of pairs to test on")
    first = opened[train]
    chosen = first.ids[:MAX_READ]
    contents = _contents((first.mask(one) for one in track(progress, "look", chosen, len(chosen))), len(first.ids))
    return Findings(
        root=root,
        dataset="coco-panoptic",
        layout=f"COCO's panoptic format: {len(names)} JSON files",
        splits=splits,
        train=train,
        test=test,
        contents=contents,
        names=first.space.names,
        names_known=True,
        options=options,
        unknown=(),
    )


def look_hf(root: Path, progress: Progress) -> Findings | None:
    """A folder of Hugging Face `datasets` with a column of masks; None where it is not one."""
    if not _is_hf(root):
        return None
    found = split_names(root)
    saved = (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()
    if len(found) == 1 and not saved:
        names = [f"{found[0]}{part}" for part in SLICES]
        train, test = names
    else:
        names = [*found]
        train, test = _train_and_test(root, names, "make two splits of it (`train_test_split` of the package datasets)")
    options = {"classes": ["any"]}  # to open it; masks are read as they are stored
    opened = {name: open_hub(name, root, options) for name in names}
    first = opened[train]
    chosen = first.ids[:MAX_READ]
    contents = _contents((first.raw_mask(one) for one in track(progress, "look", chosen, len(chosen))), len(first.ids))
    values = class_values(contents)
    beside = _id2label(first, root)
    known = beside is not None and max(values) < len(beside)
    classes = beside if known and beside is not None else made_up_names(contents)
    unknown = () if known else ("What the classes are called: the names are made up from values; write your own.",)
    return Findings(
        root=root,
        dataset="hf",
        layout="a folder of Hugging Face `datasets`" + (", saved to disk" if saved else ""),
        splits={name: FoundSplit(num_pairs=len(one.ids)) for name, one in opened.items()},
        train=train,
        test=test,
        contents=contents,
        names=classes,
        names_known=known,
        options=_hf_options(first, values, classes, known, contents),
        unknown=unknown,
    )


def _hf_options(
    dataset: HubDataset, values: list[int], classes: tuple[str, ...], known: bool, contents: Contents
) -> dict[str, Any]:
    options: dict[str, Any] = {} if dataset.mask_column in MASK_COLUMNS else {"mask_column": dataset.mask_column}
    if known:
        return options
    if values != list(range(values[0], values[0] + len(values))):
        raise DataError(
            f"{dataset.name}: masks hold the values {', '.join(map(str, values[:12]))}{' ...' if values[12:] else ''}, "
            "expected values that count up; map them to 0, 1, 2 and on, with 255 for what is no class."
        )
    return options | {"classes": list(classes)} | ({"first_value": values[0]} if values[0] else {})


def _is_hf(root: Path) -> bool:
    if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
        return True
    for path in (root / name for name in METADATA):
        if _speaks_of_masks(path):
            return True
    if any(_speaks_of_masks(path) for name in METADATA for path in root.glob(f"*/{name}")):
        return True
    first = next((path for pattern in ("*.parquet", "*/*.parquet") for path in sorted(root.glob(pattern))), None)
    return first is not None and _has_pictures(first)


def _speaks_of_masks(path: Path) -> bool:
    if not path.is_file():
        return False
    if path.suffix == ".parquet":
        return MASK_FILES.decode() in _schema(path).names
    with path.open("rb") as stream:
        return MASK_FILES in stream.read(1 << 16)


def _has_pictures(path: Path) -> bool:
    """Whether at least two columns are structs of bytes and path."""
    kinds = [field.type for field in _schema(path)]
    return sum(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 for kind in kinds) >= 2


def _schema(path: Path) -> pa.Schema:
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowException):
        return pa.schema([])


def _id2label(dataset: HubDataset, root: Path) -> tuple[str, ...] | None:
    try:
        return open_hub(dataset.name.rpartition("/")[2], root, {}).space.names
    except DataError:
        return None


def _train_and_test(root: Path, names: list[str], advice: str) -> tuple[str, str]:
    train = next((name for name in names if name.lower().startswith("train")), names[0])
    ranked = [name for word in ("test", "val", "") for name in names if name.lower().startswith(word) and name != train]
    if not ranked:
        raise DataError(f"{root}: has the split '{train}' only, and students are scored on another one; {advice}.")
    return train, ranked[0]


def _contents(masks: Iterable[NDArray[Any]], num_masks: int) -> Contents:
    held: Counter[int] = Counter()
    pixels: Counter[int] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    for mask in masks:
        found, counts = np.unique(mask, return_counts=True)
        held.update(found.tolist())
        pixels.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        sizes[mask.shape[0], mask.shape[1]] += 1
    total = sum(pixels.values())
    values = {value: (held[value], pixels[value] / total) for value in sorted(held)}
    return Contents("index", values=values, sizes=dict(sizes), num_read=sum(sizes.values()), num_masks=num_masks)
