"""Any folder of images and masks as a data set, described by a YAML file."""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from d3s2.base.config import Config, build, read_yaml
from d3s2.base.errors import ConfigError
from d3s2.base.names import nearest
from d3s2.base.pixels import Colour
from d3s2.data.files.lines import filled_lines
from d3s2.data.files.places import FilePath, is_file, place_of, text_of
from d3s2.data.folder_plan import IMAGE_SUFFIXES, LOSSY_SUFFIXES, MASK_SUFFIXES, FolderPlan, MaskFiles, Side, SplitFiles
from d3s2.data.label_space import LabelSpace
from d3s2.data.settings import Url

Channel = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Channel, Channel, Channel]


class SideConfig(Config):
    """Where images lie."""

    folder: str = "."
    """Below the root, searched with its subfolders; `{split}` stands for the split's folder."""
    pattern: str = "*"
    """File name without extension; `*` is what image and mask have in common."""
    extensions: tuple[str, ...] | None = None
    """Default: every format that can be read (for masks: without loss)."""
    skip: str | None = None
    """File names without extension, with wildcards, that are passed over."""


class MasksConfig(SideConfig):
    """Where masks lie, and what their values mean."""

    encoding: Literal["index", "colour"] = "index"
    first_value: Annotated[int, Field(ge=0)] = 0
    """The value of the first class in an index mask; the others follow."""
    raw_ids: dict[int, str | int] | None = None
    """Value in an index mask -> class name (or its position), where values do not simply count up."""
    ignore_values: tuple[int, ...] = ()
    """Values of an index mask that are no class; 255 is always one unless it is a class."""
    ignore_colours: tuple[Rgb, ...] = ()
    """Colours of a colour-coded mask that are no class."""


class SplitConfig(Config):
    """One split."""

    folder: str | None = None
    """What `{split}` stands for; default: the split's name."""
    list_file: str | None = None
    """A text file that names the pairs; default: everything in the folders."""
    images: str | None = None
    """A folder of images of its own."""
    masks: str | None = None
    """A folder of masks of its own."""


class FolderConfig(Config):
    """A data set file."""

    name: str
    root: Url | Path | None = None
    """Default: the folder of the data set file; a relative path is relative to that. Or a URL that fsspec knows."""
    classes: tuple[str, ...] | str | None = None
    """Class names, or a text file with one a line; may be left out where the palette names them."""
    palette: str | tuple[Rgb, ...] | dict[str, Rgb] | None = None
    """A CSV file with name, r, g, b; or colours in the order of the classes; or colours by class name."""
    images: SideConfig
    masks: MasksConfig
    splits: Annotated[dict[str, SplitConfig | None], Field(min_length=1)]


def read_folder_plan(path: Path, root: Path | str | None = None) -> tuple[FolderPlan, FilePath]:
    """The plan that a data set file describes, and the root that it is for.

    Args:
        path: the YAML file.
        root: takes the place of the file's own root.

    Raises:
        ConfigError: the file, its classes or its palette are not what they should be.
        DataError: the classes contradict themselves.
    """
    config = build(FolderConfig, read_yaml(path), str(path))
    own = config.root if config.root is None or isinstance(config.root, str) else path.parent / config.root
    base = place_of(root or own or path.parent)
    space = _space(config, path, base)
    masks = MaskFiles(_side(config.masks, MASK_SUFFIXES, str(path)), space, config.masks.encoding == "colour")
    plan = FolderPlan(
        name=config.name,
        images=_side(config.images, IMAGE_SUFFIXES, str(path)),
        masks={config.masks.encoding: masks},
        splits={name: _split(name, split or SplitConfig(), path) for name, split in config.splits.items()},
    )
    return plan, base


def _side(config: SideConfig, suffixes: tuple[str, ...], where: str) -> Side:
    if config.extensions is not None:
        suffixes = tuple("." + extension.lower().removeprefix(".") for extension in config.extensions)
    if isinstance(config, MasksConfig) and set(suffixes) & set(LOSSY_SUFFIXES):
        raise ConfigError(f"{where}: masks cannot be JPEG, which changes label values; make them again as PNG.")
    if config.pattern.count("*") != 1:
        raise ConfigError(
            f"{where}: pattern '{config.pattern}' must hold one '*', which stands for what image and mask share."
        )
    return Side((config.folder,), config.pattern, suffixes, config.skip)


def _split(name: str, config: SplitConfig, path: Path) -> SplitFiles:
    beside = (config.list_file, str(path.parent.resolve() / config.list_file)) if config.list_file else ()
    return SplitFiles(config.folder or name, beside, images=config.images, masks=config.masks)


def _space(config: FolderConfig, path: Path, base: FilePath) -> LabelSpace:
    colours = _palette(config, path, base)
    names = _names(config, path, base, colours)
    masks = config.masks
    if masks.encoding == "colour" and colours is None:
        raise ConfigError(f"{path}: masks.encoding is colour, so a palette is needed: a CSV file, or colours inline.")
    palette, others = _in_order(colours, names, str(path)) if colours is not None else (None, ())
    return LabelSpace(
        name=config.name,
        names=names,
        raw_ids=_raw_ids(masks, names, str(path)),
        ignored=masks.ignore_values,
        palette=palette,
        ignored_colours=tuple(dict.fromkeys((*masks.ignore_colours, *others))),
    )


def _names(
    config: FolderConfig, path: Path, base: FilePath, colours: Sequence[Colour] | dict[str, Colour] | None
) -> tuple[str, ...]:
    if isinstance(config.classes, tuple):
        return config.classes
    if config.classes is not None:
        file = _find(config.classes, path, base, "classes")
        return tuple(line for _, line in filled_lines(file, "a list of classes", ConfigError))
    if isinstance(colours, dict):
        return tuple(colours)
    raise ConfigError(
        f"{path}: there are no class names; give classes as a list, as a text file with one name a line, or give a "
        "palette with names."
    )


def _palette(config: FolderConfig, path: Path, base: FilePath) -> Sequence[Colour] | dict[str, Colour] | None:
    if isinstance(config.palette, str):
        return read_palette(_find(config.palette, path, base, "palette"))
    return config.palette


def _in_order(
    colours: Sequence[Colour] | dict[str, Colour], names: tuple[str, ...], where: str
) -> tuple[tuple[Colour, ...], tuple[Colour, ...]]:
    """The colour of each class, and the colours of names that are no class here: those mean IGNORE."""
    if not isinstance(colours, dict):
        return tuple(colours), ()
    for name in names:
        if name not in colours:
            hint = nearest(name, colours)
            raise ConfigError(
                f"{where}: class '{name}' has no colour in the palette" + (f", did you mean '{hint}'?" if hint else ".")
            )
    return tuple(colours[name] for name in names), tuple(colours[name] for name in colours if name not in names)


def _raw_ids(masks: MasksConfig, names: tuple[str, ...], where: str) -> dict[int, int]:
    if masks.raw_ids is None:
        return {masks.first_value + train: train for train in range(len(names))}
    by_name = {name: train for train, name in enumerate(names)}
    raw_ids = {}
    for value, target in masks.raw_ids.items():
        if isinstance(target, str) and target not in by_name:
            hint = nearest(target, names)
            raise ConfigError(
                f"{where}: masks.raw_ids gives value {value} to '{target}', which is no class"
                + (f", did you mean '{hint}'?" if hint else ".")
            )
        raw_ids[value] = by_name[target] if isinstance(target, str) else target
    return raw_ids


def _find(name: str, path: Path, base: FilePath, what: str) -> FilePath:
    candidates: list[FilePath] = [path.parent / name, base / name]
    for candidate in candidates:
        if is_file(candidate):
            return candidate
    expected = " or ".join(dict.fromkeys(map(str, candidates)))
    raise ConfigError(f"{path}: there is no {what} file '{name}', expected {expected}.")


def read_palette(path: FilePath) -> dict[str, Colour]:
    """The colour of each name in a CSV file: with a header (name, r, g, b in any order), or those four columns.

    Raises:
        ConfigError: the file is not UTF-8 or no CSV, a row is no name with three numbers from 0 to 255, or a name is
            there twice.
    """
    rows = _csv_rows(path)
    order, width = [0, 1, 2, 3], 4
    if rows and not any(cell.isnumeric() for cell in rows[0][1]):
        header = [cell.lower() for cell in rows.pop(0)[1]]
        order = [header.index(_column(header, wanted, str(path))) for wanted in HEADERS]
        width = len(header)
    colours: dict[str, Colour] = {}
    for number, row in rows:
        cells = [row[position] if position < len(row) else "" for position in order]
        whole = cells[0] and all(COLOUR_VALUE.fullmatch(cell) and int(cell) <= 255 for cell in cells[1:])
        if not whole or any(row[width:]):
            raise ConfigError(f"{path}, line {number}: found {','.join(row)}, expected name,r,g,b with 0 to 255.")
        if cells[0] in colours:
            raise ConfigError(f"{path}, line {number}: '{cells[0]}' is there twice; names must differ.")
        colours[cells[0]] = (int(cells[1]), int(cells[2]), int(cells[3]))
    if not colours:
        raise ConfigError(f"{path}: holds no colour, expected lines of name,r,g,b.")
    return colours


def _csv_rows(path: FilePath) -> list[tuple[int, list[str]]]:
    """Line number and cells of each row that is not blank; a row in quotes that spans lines has the last one's."""
    reader = csv.reader(StringIO(text_of(path, "a palette", ConfigError), newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: cannot be read as CSV ({error}).") from None
    return rows


COLOUR_VALUE = re.compile("[0-9]{1,3}")
HEADERS = {"name": ("name", "class", "label"), "r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue")}


def _column(header: Sequence[str], wanted: str, where: str) -> str:
    for name in HEADERS[wanted]:
        if name in header:
            return name
    raise ConfigError(f"{where}: the header {','.join(header)} has no column {wanted}, expected name,r,g,b.")
