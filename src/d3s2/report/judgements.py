"""What judges say of images, beside the students: judges.json, read and written strictly, and its tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Amount, Count, Share, read_record
from d3s2.report.set_names import SETS
from d3s2.report.tables import NONE, Table, measured

OWN_REAL, UNSEEN_REAL = "own-real", "unseen-real"
JUDGED = SETS | {OWN_REAL: "real, same masks", UNSEEN_REAL: "real, unseen"}
"""What is judged: sets, and real images for comparison."""

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


@dataclass(frozen=True)
class Neighbour:
    """The real image nearest to one synthetic image.

    Args:
        item_id: the synthetic image; `source_id` is its mask in the data set.
        nearest_id: its nearest real image.
        distance: root mean square of the difference between both as pictures of 16 x 16 px, in grey levels.
        ratio: `distance` over the distance from that real image to the nearest other real one; 0 is a copy.
    """

    __pydantic_config__ = RECORD

    item_id: str
    source_id: str
    nearest_id: str
    distance: Amount
    ratio: Amount


@dataclass(frozen=True)
class Judgement:
    """One set of images before its judges; MEASURES says how to read each number.

    Args:
        name: a key of JUDGED, or another set.
        neighbours: of the synthetic images, in the order of items; none for real ones.
    """

    __pydantic_config__ = RECORD

    name: str
    items: Count
    teacher_miou: Share | None = None
    independent_miou: Share | None = None
    ignored_share: Share | None = None
    density: Amount | None = None
    coverage: Share | None = None
    vendi: Amount | None = None
    authenticity: Share | None = None
    neighbours: tuple[Neighbour, ...] = ()

    def closest(self, count: int) -> tuple[Neighbour, ...]:
        """Those that look most like copies first."""
        return tuple(sorted(self.neighbours, key=lambda one: (one.ratio, one.item_id))[:count])


@dataclass(frozen=True)
class Judgements:
    """All sets before their judges.

    Args:
        digest: of the sets, the data and the judges; the same digest means the same numbers.
        network: whose features density, coverage and Vendi score are taken in; `layer` is the deepest that it shows.
        num_real: images of the training split, all compared with.
        real_distance: median distance from a real image to the nearest other one, as in Neighbour.
    """

    __pydantic_config__ = RECORD

    digest: str
    network: Literal["independent", "teacher"]
    layer: str
    num_real: Count
    real_distance: Amount
    rows: tuple[Judgement, ...]

    def of(self, name: str) -> Judgement | None:
        """One row, or None where that set was not judged."""
        return next((row for row in self.rows if row.name == name), None)


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


def write_judgements(path: Path, judgements: Judgements) -> None:
    """Writes judges.json."""
    write_json(path, asdict(judgements))


def read_judgements(path: Path) -> Judgements:
    """Reads judges.json; raises StoreError naming the key that is missing, unknown or wrong."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 evaluate` makes it.")
    return read_record(path, Judgements, "run `d3s2 evaluate` again")


def _cell(row: Judgement, name: str) -> str:
    value = getattr(row, name)
    if name in PLAIN_NUMBERS:
        return NONE if value is None else f"{value:.2f}"
    return measured(value, None)
