"""What judges say of images, beside the students: judges.json, read and written strictly."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Amount, Count, Share, read_record
from d3s2.set_names import SETS

OWN_REAL, UNSEEN_REAL = "own-real", "unseen-real"
JUDGED = SETS | {OWN_REAL: "real, same masks", UNSEEN_REAL: "real, unseen"}
"""What is judged: sets, and real images for comparison."""


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
    """One set of images before its judges; `report.judgement_tables` says how to read each number.

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


def write_judgements(path: Path, judgements: Judgements) -> None:
    """Writes judges.json."""
    write_json(path, asdict(judgements))


def read_judgements(path: Path) -> Judgements:
    """Reads judges.json; raises StoreError naming the key that is missing, unknown or wrong."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 evaluate` makes it.")
    return read_record(path, Judgements, "run `d3s2 evaluate` again")
