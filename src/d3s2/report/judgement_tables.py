"""Tables of what judges say of images, and how each of their numbers is read."""

from collections.abc import Sequence

from d3s2.judgements import JUDGED, Judgement, Judgements, Neighbour
from d3s2.report.tables import NONE, Table, measured

MEASURES = {
    "teacher_miou": "mIoU of the teacher against the masks. It guided, so it flatters guided images; and it was fitted "
    "on the real images of the same masks.",
    "independent_miou": "mIoU of an independent network, trained on all real data by the students' protocol, that "
    "never guided. Far below unseen real images: images and masks disagree.",
    "ignored_share": "Share of pixels of no class (255): what masks leave out, and what a filter took away.",
    "density": "Neighbourhoods of real images that an image lies in, over the number of neighbours: about 1 for images "
    "like real ones, near 0 for images unlike any.",
    "coverage": "Share of the real images that have an image of the set in their neighbourhood. Few images cannot "
    "cover many: compare with as many unseen real ones.",
    "vendi": "How many images that have nothing in common the set is worth (Vendi score), at most its items.",
    "authenticity": "Share of images that are farther from their nearest real image, in pixels, than that one is from "
    "its own nearest real neighbour. Far below unseen real images: the generator copies.",
}
"""Fields of a Judgement in the order of columns, and how to read each."""

HEADERS = {
    "teacher_miou": "teacher, %",
    "independent_miou": "independent, %",
    "ignored_share": "ignored, %",
    "density": "density",
    "coverage": "coverage, %",
    "vendi": "Vendi",
    "authenticity": "authentic, %",
}
PLAIN_NUMBERS = ("density", "vendi")


def judgements_table(judgements: Judgements) -> Table:
    """A row a set of images, a column a measure."""
    rows = tuple(
        (JUDGED.get(row.name, row.name), f"{row.items:,}", *(_cell(row, name) for name in MEASURES))
        for row in judgements.rows
    )
    headers = ("images", "items", *(HEADERS[name] for name in MEASURES))
    strong = tuple(index for index, row in enumerate(judgements.rows) if row.name == "distilled")
    return Table(headers, rows, (False, *[True] * (len(headers) - 1)), strong)


def neighbours_table(neighbours: Sequence[Neighbour]) -> Table:
    """A row a synthetic image."""
    headers = ("image", "mask of", "nearest real image", "distance", "ratio")
    rows = tuple(
        (one.item_id, one.source_id, one.nearest_id, f"{one.distance:.1f}", f"{one.ratio:.2f}") for one in neighbours
    )
    return Table(headers, rows, (False, False, False, True, True))


def _cell(row: Judgement, name: str) -> str:
    value = getattr(row, name)
    if name in PLAIN_NUMBERS:
        return NONE if value is None else f"{value:.2f}"
    return measured(value, None)
