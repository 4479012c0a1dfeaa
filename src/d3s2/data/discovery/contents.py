"""What masks hold: values or colours, how often, in which sizes; and the class names that lie beside them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from d3s2.base.errors import ConfigError, DataError
from d3s2.base.pixels import Colour
from d3s2.base.progress import SILENT, Progress, track
from d3s2.base.train_ids import IGNORE, MAX_CLASSES
from d3s2.data.discovery.records import Contents
from d3s2.data.files.image_files import read_colour_mask, read_mask
from d3s2.data.files.lines import filled_lines
from d3s2.data.folder import read_palette

MAX_READ = 5_000
"""Masks that are read at most, evenly spread; a value that only others hold is named by the run that meets it."""
READ_THREADS = 4
CLASS_FILES = ("classes.txt", "labels.txt", "class_names.txt", "names.txt", "label_names.txt")


def read_contents(masks: Sequence[Path], progress: Progress = SILENT) -> Contents:
    """Reads masks, all or evenly spread ones.

    Raises:
        DataError: one cannot be read, or they hold more values or colours than there can be classes.
    """
    chosen = [masks[int(at)] for at in np.linspace(0, len(masks) - 1, min(MAX_READ, len(masks)))]
    encoding: Literal["index", "colour"] = "index" if _is_index(chosen) else "colour"
    read: Callable[[Path], NDArray[np.int64]] = _values if encoding == "index" else _packed_colours
    return _counted(chosen, read, encoding, len(masks), progress)


def _counted(
    chosen: Sequence[Path],
    read: Callable[[Path], NDArray[np.int64]],
    encoding: Literal["index", "colour"],
    num_masks: int,
    progress: Progress,
) -> Contents:
    held: Counter[int] = Counter()
    pixels: Counter[int] = Counter()
    sizes: Counter[tuple[int, int]] = Counter()
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for path, mask in zip(chosen, track(progress, "look", pool.map(read, chosen), len(chosen)), strict=True):
            found, counts = np.unique(mask, return_counts=True)
            held.update(found.tolist())
            pixels.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
            sizes[mask.shape[0], mask.shape[1]] += 1
            if len(held) > MAX_CLASSES + 1:
                raise DataError(_too_many(path, encoding))
    total = sum(pixels.values())
    shares = {value: (held[value], pixels[value] / total) for value in sorted(held)}
    if encoding == "index":
        return Contents(encoding, values=shares, sizes=dict(sizes), num_read=len(chosen), num_masks=num_masks)
    colours = {_colour(packed): share for packed, share in shares.items()}
    return Contents(encoding, colours=colours, sizes=dict(sizes), num_read=len(chosen), num_masks=num_masks)


def _too_many(path: Path, encoding: str) -> str:
    kind, why = ("values", "are they ids of instances?") if encoding == "index" else ("colours", "are edges smoothed?")
    return (
        f"{path}: with this mask there are more than {MAX_CLASSES} {kind}, the most classes that a data set can have; "
        f"{why} Make masks with one value a class, and give that folder."
    )


def _is_index(paths: Sequence[Path]) -> bool:
    """Whether the first mask has one value a pixel; raises DataError where it cannot be read either way."""
    try:
        read_mask(paths[0])
    except DataError:
        read_colour_mask(paths[0])
        return False
    return True


def _values(path: Path) -> NDArray[np.int64]:
    return read_mask(path).astype(np.int64)


def _packed_colours(path: Path) -> NDArray[np.int64]:
    wide = read_colour_mask(path).astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _colour(packed: int) -> Colour:
    return packed >> 16, packed >> 8 & 255, packed & 255


def class_values(contents: Contents) -> list[int]:
    """Values of an index mask that are taken for classes: all but 255, which is one only in a mask of 0 and 255."""
    values = sorted(contents.values)
    if len(values) == 2 and values[1] == IGNORE and values[0] == 0:
        return values
    return [value for value in values if value != IGNORE] or values


def names_beside(root: Path, values: Sequence[int]) -> tuple[str, tuple[str, ...], int | None] | None:
    """A text file with class names for these values of masks, below the root.

    Returns:
        Its path and names, and the value of the first where they count up from it, whether a mask holds each or not:
        from 0, or from 1 where 0 has no name. None for one name a value.
    """
    for name in CLASS_FILES:
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            if path.is_file():
                names = tuple(line for _, line in filled_lines(path, "a list of classes", DataError))
                first = _first_value(values, len(names))
                if len(set(names)) == len(names) and (first is not None or len(names) == len(values)):
                    return path.relative_to(root).as_posix(), names, first
    return None


def _first_value(values: Sequence[int], num_names: int) -> int | None:
    """The value that the first of so many names has; None where the values do not tell, or have a name each."""
    if len(values) == num_names:
        return None
    if 0 in values and max(values) == num_names:
        return 1
    return 0 if max(values) < num_names else None


def palette_beside(root: Path, colours: Iterable[Colour]) -> tuple[str, tuple[str, ...]] | None:
    """A CSV file with the colours of the masks, below the root, and its names."""
    wanted = set(colours)
    for path in (*sorted(root.glob("*.csv")), *sorted(root.glob("*/*.csv"))):
        try:
            palette = read_palette(path)
        except ConfigError:
            continue  # another table
        if wanted <= set(palette.values()) and len(set(palette.values())) == len(palette):
            return path.relative_to(root).as_posix(), tuple(palette)
    return None


def named_beside(root: Path, contents: Contents) -> tuple[str, tuple[str, ...]] | None:
    """A table of names, below the root, and its name of each value or colour that the masks hold.

    Source: docs.cvat.ai, `labelmap.txt` (name:r,g,b:parts:actions); Roboflow's `_classes.csv` (value, name).
    """
    keys = [*contents.colours] if contents.encoding == "colour" else class_values(contents)
    for name, read in {"labelmap.txt": _names_of_colours, "_classes.csv": _names_of_values}.items():
        for path in (root / name, *sorted(root.glob(f"*/{name}"))):
            if path.is_file():
                table = dict(read(line) for _, line in filled_lines(path, "names of classes", DataError))
                names = tuple(table.get(key) or "" for key in keys)
                if all(names) and len(set(names)) == len(names):
                    return path.relative_to(root).as_posix(), names
    return None


def _names_of_colours(line: str) -> tuple[Colour | int | None, str]:
    found = re.match(r"([^#:][^:]*):([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3}):", line)
    return ((int(found[2]), int(found[3]), int(found[4])), found[1].strip()) if found else (None, "")


def _names_of_values(line: str) -> tuple[Colour | int | None, str]:
    found = re.fullmatch(r"([0-9]{1,5}) *,(.+)", line)
    return (int(found[1]), found[2].strip(' "')) if found else (None, "")


def made_up_names(contents: Contents) -> tuple[str, ...]:
    """A name for each class that nothing names."""
    if contents.encoding == "index":
        return tuple(f"class_{value}" for value in class_values(contents))
    return tuple(f"colour_{r:02x}{g:02x}{b:02x}" for r, g, b in contents.colours)
