"""ade20k: folders and values of the ADE20K scene parsing challenge.

Source: https://sceneparsing.csail.mit.edu
"""

from pathlib import Path

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_text
from d3s2.base.progress import Progress
from d3s2.store.exports.pairs import copy_pairs, shifted_by_one, write_about
from d3s2.store.reader import DistilledSet

MAX_CLASSES = 254
"""A value is the train id plus one, and tools that shift it back take 255 as ignored."""

CARD = """# {name}

{num_items} distilled pairs, {num_classes} classes, in the layout of the ADE20K challenge: `images/training/<id>.png`
and `annotations/training/<id>.png`, where a value is the train id plus one and 0 is ignored. `classes.txt` names them.

transformers: read the annotation as it is and pass `do_reduce_labels=True` to the image processor.
"""


def export_ade20k(distilled: DistilledSet, to: Path, progress: Progress) -> None:
    """images/training and annotations/training: train id + 1, 0 ignored."""
    space = distilled.space
    if space.num_classes > MAX_CLASSES:
        raise DataError(
            f"{space.name}: has {space.num_classes} classes, the ADE20K layout holds at most {MAX_CLASSES} "
            "(a value is the train id plus one, and 255 means ignored); export it as hf."
        )
    images, masks, soft = "images/training", "annotations/training", "soft/training"
    copy_pairs(distilled, to, images, masks, progress, encode=shifted_by_one, soft=soft)
    write_text(to / "classes.txt", "\n".join(space.names) + "\n")
    write_about(distilled, to, CARD)
