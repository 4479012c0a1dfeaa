"""What was found in a folder of unknown data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from d3s2.base.pixels import Colour


@dataclass(frozen=True)
class FoundSide:
    """Where images, or masks, lie.

    Args:
        folder: below the root; `{split}` stands for a split's folder.
        pattern: file name without extension, with one `*`.
        extensions: without the dot.
        skip: file names without extension to pass over, with wildcards.
    """

    folder: str
    pattern: str = "*"
    extensions: tuple[str, ...] = ()
    skip: str | None = None


@dataclass(frozen=True)
class FoundSplit:
    """One split.

    Args:
        folder: what `{split}` stands for; None where folders hold none.
        list_file: a list file that was found, below the root.
        names: pairs that a list file has to be written with; None where folders or `list_file` say enough.
        num_pairs: complete pairs.
        num_incomplete: images or masks without their partner.
    """

    folder: str | None = None
    list_file: str | None = None
    names: tuple[str, ...] | None = None
    num_pairs: int = 0
    num_incomplete: int = 0


@dataclass(frozen=True)
class Contents:
    """What masks hold.

    Args:
        encoding: one value a pixel, or colours.
        values: value of an index mask -> (masks that hold it, share of all pixels).
        colours: the same by colour.
        bits: 16 where a value exceeds 255.
        sizes: (height, width) -> masks of that size.
        num_read, num_masks: how many were read, of how many.
    """

    encoding: Literal["index", "colour"]
    values: Mapping[int, tuple[int, float]] = field(default_factory=dict)
    colours: Mapping[Colour, tuple[int, float]] = field(default_factory=dict)
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)
    num_read: int = 0
    num_masks: int = 0

    @property
    def bits(self) -> int:
        """Of a value."""
        return 16 if max(self.values, default=0) > 255 else 8


@dataclass(frozen=True)
class Findings:
    """All of it.

    Args:
        root: the folder.
        dataset: `folders` for a data set file, or the known data set that reads the folder: `hf`, `coco-panoptic`.
        layout: the layout in words.
        splits: by name.
        train, test: which of them to distil, and to score students on.
        contents: what masks hold.
        names: class names in the order of train ids.
        names_known: whether the folder says them; otherwise they are made up.
        classes_from: a file that has them, below the root.
        first_value: of the masks, where the names of `classes_from` count up from it; masks need not hold all of them.
        palette_from: a CSV file that has colours and names, below the root.
        names_from: another table that names values or colours, below the root.
        images, masks: where they lie; None for a known data set.
        options: of a known data set.
        unknown: a sentence for each thing that the folder cannot tell.
    """

    root: Path
    dataset: Literal["folders", "hf", "coco-panoptic"]
    layout: str
    splits: Mapping[str, FoundSplit]
    train: str
    test: str
    contents: Contents
    names: tuple[str, ...]
    names_known: bool
    classes_from: str | None = None
    first_value: int | None = None
    palette_from: str | None = None
    names_from: str | None = None
    images: FoundSide | None = None
    masks: FoundSide | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
