"""What an ablation leaves behind: a row for each variant, set and student; as JSON, CSV and a table."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.files import write_json
from d3s2.base.records import RECORD, read_record
from d3s2.report.records import SetResult, set_title
from d3s2.report.tables import NONE, Table, csv_cell, measured, time_text

REFERENCE = "reference"
HEADERS = ("axis", "variant", "set", "items", "mIoU, %", "tail mIoU, %", "× random", "L_seg", "sampling")


@dataclass(frozen=True)
class AblationRow:
    """How one set of one variant trains one student.

    Args:
        axis: what is varied, or 'reference' for real sets at the recipe's own budget.
        variant: which value.
        overrides: 'key=value' strings that make it from the recipe.
        share: of the training split that the set holds, 0..1.
        l_seg: mean segmentation energy of the finished images; None for real sets.
        sampling_s: what sampling them took.
        result: the students.
    """

    __pydantic_config__ = RECORD

    axis: str
    variant: str
    overrides: tuple[str, ...]
    share: float
    l_seg: float | None
    sampling_s: float | None
    result: SetResult


@dataclass(frozen=True)
class Ablation:
    """All variants; the other fields as in Results.

    Args:
        config: of the recipe that is varied.
    """

    __pydantic_config__ = RECORD

    rows: tuple[AblationRow, ...]
    dataset: str
    config: dict[str, Any]
    hardware: dict[str, Any]
    date: str
    commit: str | None
    command: str
    versions: dict[str, str]

    @property
    def students(self) -> tuple[str, ...]:
        """Architectures, in order of appearance."""
        return tuple(dict.fromkeys(row.result.student for row in self.rows))

    @property
    def axes(self) -> tuple[str, ...]:
        """What was varied, in order of appearance."""
        return tuple(dict.fromkeys(row.axis for row in self.rows if row.axis != REFERENCE))

    def of(self, axis: str, student: str) -> tuple[AblationRow, ...]:
        """The rows of one axis and student, in order."""
        return tuple(row for row in self.rows if (row.axis, row.result.student) == (axis, student))

    def references(self, student: str) -> Mapping[str, SetResult]:
        """Real sets at the recipe's own budget, by name."""
        return {row.result.name: row.result for row in self.of(REFERENCE, student)}

    def random_beside(self, row: AblationRow) -> SetResult | None:
        """Random real data of the same budget: of the row's own variant, or else of the recipe."""
        student = row.result.student
        beside = (other.result for other in self.of(row.axis, student) if other.variant == row.variant)
        return next((result for result in beside if result.name == "random"), self.references(student).get("random"))


def ablation_table(ablation: Ablation) -> Table:
    """A row a variant and set: mIoU and tail mIoU in per cent, against random real data of the same budget."""
    many = len(ablation.students) > 1
    headers: tuple[str, ...] = HEADERS
    lines = [_cells(ablation, row) for row in ablation.rows]
    if many:
        headers = ("student", *headers)
        lines = [(row.result.student, *line) for row, line in zip(ablation.rows, lines, strict=True)]
    words = ("student", "axis", "variant", "set")
    return Table(headers, tuple(lines), tuple(header not in words for header in headers), _best(ablation))


def ablation_csv(ablation: Ablation) -> str:
    """One line a row with every number unrounded; lists are separated by spaces."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    own = ("axis", "variant", "overrides", "share", "l_seg", "sampling_s")
    of_result = [name for name in SetResult.__dataclass_fields__ if name != "iou_per_class"]
    writer.writerow([*own, *of_result])
    for row in ablation.rows:
        values = [getattr(row, name) for name in own] + [getattr(row.result, name) for name in of_result]
        writer.writerow([csv_cell(value) for value in values])
    return buffer.getvalue()


def write_ablation(path: Path, ablation: Ablation) -> None:
    """Writes the JSON."""
    write_json(path, asdict(ablation))


def read_ablation(path: Path) -> Ablation:
    """Reads the JSON; raises StoreError naming the key that is missing, unknown or wrong."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 ablate` makes it.")
    return read_record(path, Ablation, "run `d3s2 ablate` again")


def _cells(ablation: Ablation, row: AblationRow) -> tuple[str, ...]:
    result = row.result
    random = ablation.random_beside(row)
    ratio = result.miou_mean / random.miou_mean if result.miou_mean and random and random.miou_mean else None
    return (
        row.axis,
        row.variant,
        set_title(result.name),
        f"{result.items:,}",
        measured(result.miou_mean, result.miou_std),
        measured(result.tail_miou_mean, result.tail_miou_std),
        NONE if ratio is None else f"{ratio:.2f}",
        NONE if row.l_seg is None else f"{row.l_seg:.2f}",
        time_text(row.sampling_s),
    )


def _best(ablation: Ablation) -> tuple[int, ...]:
    """The variant with the highest mIoU of each axis and student, distilled sets only."""
    best: dict[tuple[str, str], int] = {}
    for index, row in enumerate(ablation.rows):
        key, miou = (row.axis, row.result.student), row.result.miou_mean
        if row.l_seg is None or miou is None:
            continue
        leader = best.get(key)
        if leader is None or miou > (ablation.rows[leader].result.miou_mean or 0):
            best[key] = index
    return tuple(sorted(best.values()))
