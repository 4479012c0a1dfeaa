"""voc: Pascal VOC's folders with CVAT's labelmap.txt.

A mask is a PNG with a palette: its values are train ids, as tools read VOC's own, and its colours those of
labelmap.txt, as CVAT and Datumaro read them.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012 (255, drawn as 224, 224, 192, is void);
https://docs.cvat.ai/docs/dataset_management/formats/format-smask (labelmap.txt)
"""

from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_text
from d3s2.base.pixels import Colour
from d3s2.base.progress import Progress
from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace
from d3s2.store.exports.pairs import copy_pairs, write_about
from d3s2.store.reader import DistilledSet

VOID: Colour = (224, 224, 192)
IGNORED = "ignored"

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes: `JPEGImages/<id>.png` (PNG, so that no pixel changes),
`SegmentationClass/<id>.png`, `ImageSets/Segmentation/train.txt` and `labelmap.txt`. A mask has a palette: its values
are train ids, 255 is ignored; its colours are those of `labelmap.txt`. Zip this folder to import it into CVAT as
"Segmentation mask 1.1".
"""


def export_voc(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """JPEGImages, SegmentationClass, ImageSets/Segmentation/train.txt and labelmap.txt."""
    space = distilled.space
    awkward = next((name for name in space.names if ":" in name or name.startswith("#") or name == IGNORED), None)
    if awkward is not None:
        raise DataError(
            f"{space.name}: the class name '{awkward}' cannot stand in labelmap.txt, where ':' ends a name, '#' begins "
            f"a comment and '{IGNORED}' is value {IGNORE}; export it as hf."
        )
    colours = _distinct_colours(space)
    encode = partial(_with_palette, colours=colours)
    copy_pairs(distilled, to, "JPEGImages", "SegmentationClass", progress, encode=encode)
    lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in zip(space.names, colours, strict=True)]
    lines.append(f"{IGNORED}:{','.join(map(str, VOID))}::")
    write_text(to / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    write_text(to / "ImageSets" / "Segmentation" / "train.txt", "\n".join(distilled.ids) + "\n")
    write_about(distilled, to, CARD)


def _distinct_colours(space: LabelSpace) -> tuple[Colour, ...]:
    """The set's own colours; generated ones where two classes share one, or a class has that of void."""
    own = _colours(space)
    return own if len({*own, VOID}) == space.num_classes + 1 else _colours(LabelSpace(space.name, space.names))


def _colours(space: LabelSpace) -> tuple[Colour, ...]:
    return tuple((int(r), int(g), int(b)) for r, g, b in space.colours)


def _with_palette(mask: UInt8[np.ndarray, "h w"], colours: tuple[Colour, ...]) -> bytes:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[: len(colours)], table[IGNORE] = colours, VOID
    picture = Image.fromarray(mask)
    picture.putpalette(table.tobytes())  # makes it a picture of mode P, with the same values
    buffer = BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
