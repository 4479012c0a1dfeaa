"""The colours in which segmentation ControlNets were taught to read a mask, and a label space drawn in them.

Tables lie in `palette_tables/`: a class, its colour, and the classes of a finer label space that the colour covers too.

Source: ade20k, the colours of the MIT scene parsing benchmark as MMSegmentation lists them, where road and skyscraper
have one colour; coco-panoptic, panoptic_coco_categories.json of cocodataset/panopticapi, with the stuff classes of
COCO-Stuff merged and removed (drawn black) as cocodataset.org/#panoptic-eval says.
"""

import csv
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.base.names import choose, did_you_mean, nearest
from d3s2.base.pixels import Colour
from d3s2.data import LabelSpace

PALETTES: dict[str, str] = {
    "ade20k": "ade20k.csv",
    "controlnet-plus-plus-ade20k": "ade20k.csv",  # ControlNet++ drew ADE20K in the very same colours
    "coco-panoptic": "coco_panoptic.csv",
}
"""Name of a palette -> its table."""

OWN_PALETTE = "label-space"
"""For a ControlNet that was fitted on the user's data: the label space's own colours."""

NUM_SHOWN = 5


def palette_colours(name: str) -> dict[str, Colour]:
    """Class -> colour of a named palette, finer classes that a colour covers included; UsageError for another name."""
    table = choose(PALETTES, name, "palette")
    text = (files("d3s2.generator") / "palette_tables" / table).read_text(encoding="utf-8")
    colours: dict[str, Colour] = {}
    for row in csv.DictReader(text.splitlines()):
        colour = (int(row["red"]), int(row["green"]), int(row["blue"]))
        for name_of_class in (row["class"], *filter(None, row["covers"].split(";"))):
            colours.setdefault(plain(name_of_class), colour)
    return colours


def plain(class_name: str) -> str:
    """A class name without what spellings differ in: case, '-' and '_', and synonyms after the first."""
    first = class_name.replace(";", ",").partition(",")[0]
    return " ".join(first.lower().replace("-", " ").replace("_", " ").split())


def colour_table(
    space: LabelSpace, palette: str, class_names: Mapping[str, str], shared_colours: bool = False
) -> UInt8[np.ndarray, "256 3"]:
    """Train id -> RGB in the colours of `palette`; IGNORE is black.

    Args:
        space: the classes.
        palette: a name in `PALETTES`, or 'label-space'.
        class_names: class of the space -> class of the palette, for names that differ.
        shared_colours: accept that two classes have one colour, so that the condition cannot tell them apart.

    Raises:
        UsageError: an unknown palette.
        ModelError: a class without a colour, or two classes with one.
    """
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: space.num_classes] = (
        space.colours if palette == OWN_PALETTE else _matched(space, palette, _checked(space, class_names))
    )
    if not shared_colours:
        _require_distinct(space, palette, table)
    return table


def colour_condition(masks: UInt8[Tensor, "b h w"], table: UInt8[np.ndarray, "256 3"]) -> Float[Tensor, "b 3 h w"]:
    """Masks drawn in colours, RGB in 0..1. Pixel for pixel: a blend of two colours would be a third class."""
    colours = torch.from_numpy(table).to(masks.device, torch.float32) / 255.0
    return colours[masks.long()].permute(0, 3, 1, 2).contiguous()


def _checked(space: LabelSpace, class_names: Mapping[str, str]) -> Mapping[str, str]:
    for name in class_names:
        if name not in space.names:
            hint = did_you_mean(name, space.names)
            raise ModelError(f"generator.class_names: '{name}' is no class of {space.name}.{hint}")
    return class_names


def _matched(space: LabelSpace, palette: str, class_names: Mapping[str, str]) -> list[Colour]:
    colours = palette_colours(palette)
    found = [colours.get(plain(class_names.get(name, name))) for name in space.names]
    missing = [name for name, colour in zip(space.names, found, strict=True) if colour is None]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:NUM_SHOWN])
        more = f" and {len(missing) - NUM_SHOWN} more" if len(missing) > NUM_SHOWN else ""
        hint = nearest(plain(missing[0]), colours)
        example = f" (for example '{missing[0]}': '{hint}')" if hint else ""
        raise ModelError(
            f"Palette '{palette}' has no colour for {len(missing)} of {space.num_classes} classes of {space.name}: "
            f"{shown}{more}; map them in generator.class_names{example}, or take a model "
            "fitted on these classes."
        )
    return [colour for colour in found if colour is not None]


def _require_distinct(space: LabelSpace, palette: str, table: UInt8[np.ndarray, "256 3"]) -> None:
    seen: dict[Colour, str] = {}
    for name, (red, green, blue) in zip(space.names, table.tolist(), strict=False):
        other = seen.setdefault((red, green, blue), name)
        if other != name:
            raise ModelError(
                f"Palette '{palette}' gives classes '{other}' and '{name}' of {space.name} one colour "
                f"({red}, {green}, {blue}), so a ControlNet cannot tell them apart by it; set "
                "generator.shared_colours to true to accept that (the prompt still names both)."
            )
