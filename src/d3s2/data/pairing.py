"""Which mask belongs to which image: the pairs that are found where a plan says that they lie."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from d3s2.base.errors import DataError
from d3s2.base.names import choose
from d3s2.data.dataset import Entry, FileDataset
from d3s2.data.files.lines import filled_lines, stray_sign
from d3s2.data.files.places import FilePath, files_below, is_file, is_folder
from d3s2.data.folder_plan import LOSSY_SUFFIXES, FolderPlan, MaskFiles, Side, SplitFiles

T = TypeVar("T")
GIVE_ROOT = "give the folder of the data set as its root (data.root=FOLDER, or --root FOLDER of `d3s2 doctor`)"
"""What messages advise where there is no folder."""


@dataclass(frozen=True)
class Pairing:
    """What was found of one split on disk.

    Args:
        name: data set and split.
        masks: how the masks are stored.
        entries: the whole pairs, in name order (or in the order of the list file).
        problems: a sentence for each image or mask without its partner.
    """

    name: str
    masks: MaskFiles
    entries: tuple[Entry, ...]
    problems: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """One report on incomplete pairs, None when all are complete."""
        if not self.problems:
            return None
        return (
            f"{self.name}: {self.problems[0]} In all {len(self.problems)} pairs are incomplete and {len(self.entries)} "
            "complete; add the missing files, or name the pairs to use in a list file."
        )

    def dataset(self) -> FileDataset:
        """The pairs as a data set; raises DataError when one of them is incomplete."""
        if self.problem:
            raise DataError(self.problem)
        return self.whole_pairs()

    def whole_pairs(self) -> FileDataset:
        """The pairs that are whole as a data set; raises DataError when none is."""
        return FileDataset(self.name, self.masks.space, self.entries, self.masks.colour_coded)


def pair_files(plan: FolderPlan, split: str, root: FilePath, masks: str | None = None) -> Pairing:
    """The pairs of one split below `root`.

    Args:
        plan: how the files lie.
        split: one of the plan's.
        root: the folder of the data set, or the one that holds it under its usual name.
        masks: how the masks are stored, one of the plan's. Default: the first that is found.

    Raises:
        UsageError: `split` or `masks` is unknown.
        DataError: a folder or list file is missing, or nothing is found.
    """
    name = f"{plan.name}/{split}"
    files = choose(plan.splits, split, f"split of {plan.name}")
    base = _base(plan, root)
    images = _folder(name, "images", _folders(plan.images, files.images, files), base)
    found_images = _scan(plan.images, images, name)
    if not found_images:
        raise DataError(_nothing(name, "image", plan.images, images))
    stored, mask_folder, found_masks = _find_masks(plan, files, base, name, masks)
    here, there = _Found(plan.images, images, found_images), _Found(stored.side, mask_folder, found_masks)
    lines = _lines(files, base, name)
    if lines is None:
        return _matched(name, stored, files, here, there)
    pairs = [_listed(line, where, base, here, there) for line, where in _part(files, lines)]
    whole = tuple(pair for pair in pairs if isinstance(pair, Entry))
    return Pairing(name, stored, whole, tuple(pair for pair in pairs if isinstance(pair, str)))


def item_id(key: str) -> str:
    """The id of a pair: its name, subfolders joined by two underscores."""
    return key.replace("/", "__")


@dataclass(frozen=True)
class _Found:
    """The files of one side."""

    side: Side
    folder: FilePath
    paths: Mapping[str, FilePath]

    def expected(self, key: str) -> str:
        return self.side.expected(self.folder, key)


def _matched(name: str, stored: MaskFiles, files: SplitFiles, images: _Found, masks: _Found) -> Pairing:
    both = sorted(images.paths.keys() & masks.paths.keys())
    if files.takes:
        both = [key for position, key in enumerate(both) if files.takes(position)]
    both = _part(files, both)
    lonely_images = (
        f"image {images.paths[key]} has no mask, expected {masks.expected(key)}."
        for key in sorted(images.paths.keys() - masks.paths.keys())
    )
    lonely_masks = (
        f"mask {masks.paths[key]} has no image, expected {images.expected(key)}."
        for key in sorted(masks.paths.keys() - images.paths.keys())
    )
    entries = tuple(Entry(item_id(key), images.paths[key], masks.paths[key]) for key in both)
    return Pairing(name, stored, entries, (*lonely_images, *lonely_masks))


def _part(files: SplitFiles, found: list[T]) -> list[T]:
    """What belongs to the split of all that its list, or its folders, hold."""
    keeps = files.part
    return found if keeps is None else [one for position, one in enumerate(found) if keeps(position)]


def _base(plan: FolderPlan, root: FilePath) -> FilePath:
    if not is_folder(root):
        raise DataError(f"{plan.name}: there is no folder {root}; {GIVE_ROOT}.")
    return next((root / name for name in plan.inside if is_folder(root / name)), root)


def _folders(side: Side, own: str | None, files: SplitFiles) -> tuple[str, ...]:
    folders = (own,) if own is not None else side.folders
    return tuple(folder.replace("{split}", files.folder) for folder in folders)


def _folder(name: str, what: str, folders: Sequence[str], base: FilePath) -> FilePath:
    candidates = [base / folder for folder in folders]
    for candidate in candidates:
        if is_folder(candidate):
            return candidate
    expected = " or ".join(str(candidate) for candidate in candidates)
    raise DataError(f"{name}: there is no folder of {what}, expected {expected}; check the root and what was unpacked.")


def _scan(side: Side, folder: FilePath, name: str) -> dict[str, FilePath]:
    """Path of each pair's file by the pair's name."""
    found: dict[str, FilePath] = {}
    for below, path in files_below(folder):
        key = side.key(below)
        if key is None:
            continue
        if stray_sign(key):
            raise DataError(
                f"{name}: the file name {str(path)!r} holds a control character or is not UTF-8; rename it."
            )
        if key in found:
            raise DataError(f"{name}: {found[key]} and {path} both belong to '{key}'; keep one, or name extensions.")
        found[key] = path
    return found


def _find_masks(
    plan: FolderPlan, files: SplitFiles, base: FilePath, name: str, masks: str | None
) -> tuple[MaskFiles, FilePath, dict[str, FilePath]]:
    ways = [choose(plan.masks, masks, f"kind of masks of {plan.name}")] if masks else [*plan.masks.values()]
    places = [_folders(way.side, files.masks, files) for way in ways]
    for way, folders in zip(ways, places, strict=True):
        if any(is_folder(base / folder) for folder in folders):
            folder = _folder(name, "masks", folders, base)
            found = _scan(way.side, folder, name)
            if found:
                return way, folder, found
    folder = _folder(name, "masks", [folder for folders in places for folder in folders], base)
    _refuse_lossy(name, ways[0].side, folder)
    raise DataError(_nothing(name, "mask", ways[0].side, folder))


def _refuse_lossy(name: str, side: Side, folder: FilePath) -> None:
    lossy = _scan(replace(side, suffixes=LOSSY_SUFFIXES), folder, name)
    if lossy:
        raise DataError(
            f"{name}: masks such as {next(iter(lossy.values()))} are stored as JPEG, which changes label values; "
            "expected a format without loss, make them again as PNG."
        )


def _nothing(name: str, what: str, side: Side, folder: FilePath) -> str:
    return (
        f"{name}: found not a single {what} in {folder}, expected files like {side.pattern} with "
        f"{', '.join(side.suffixes)}; check the folder, the pattern and the extensions."
    )


def _lines(files: SplitFiles, base: FilePath, name: str) -> list[tuple[str, str]] | None:
    """The lines of the split's list file with their places, None for a split without one."""
    path = next((base / file for file in files.lists if is_file(base / file)), None)
    if path is None:
        if files.takes or not files.lists:
            return None
        expected = " or ".join(dict.fromkeys(str(base / file) for file in files.lists))
        raise DataError(f"{name}: there is no list file, expected {expected}.")
    found = [(line, f"{path}, line {number}") for number, line in filled_lines(path, "a list of pairs", DataError)]
    if not found:
        raise DataError(f"{path}: is empty, expected one name or path a line.")
    return found


def _listed(line: str, where: str, base: FilePath, images: _Found, masks: _Found) -> Entry | str:
    """The pair that a line of a list file names, or a sentence on what is missing."""
    if ".." in re.split(r"[/\s]", line) or "\0" in line:
        return f"{where}: '{line}' leads out of a folder, expected a name, or paths without '..'."
    columns = line.split()
    if len(columns) == 2 and all(Path(column).suffix for column in columns) and line not in images.paths:
        return _named(columns, where, base, images.side)
    key = next((key for key in _keys(line, images) if key in images.paths), None)
    if key is None:
        return f"{where}: '{line}' names no image in {images.folder}."
    if key not in masks.paths:
        return f"image {images.paths[key]} ({where}) has no mask, expected {masks.expected(key)}."
    return Entry(item_id(key), images.paths[key], masks.paths[key])


def _named(columns: Sequence[str], where: str, base: FilePath, side: Side) -> Entry | str:
    """The pair of an image path and a mask path, relative to the root."""
    image, mask = (base / column.lstrip("/") for column in columns)
    for path in (image, mask):
        if not is_file(path):
            return f"{where}: there is no file {path}."
    return Entry(item_id(side.key(Path(image.name)) or image.stem), image, mask)


def _keys(line: str, images: _Found) -> Iterator[str]:
    """The pairs that a line may mean: a name, or an image path that starts in the folder of images or above it."""
    yield line
    parts = Path(line.lstrip("/")).parts
    for start in range(len(parts)):
        if start == 0 or parts[start - 1] == images.folder.name:
            below = Path(*parts[start:])
            key = images.side.key(below) or images.side.key(below.with_name(below.name + images.side.suffixes[0]))
            if key is not None:
                yield key
