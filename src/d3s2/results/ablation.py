"""What an ablation leaves behind: a row for each variant, set and student; as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, read_object, record_from
from d3s2.results.older_results import FORMAT_VERSION
from d3s2.results.records import SetResult

REFERENCE = "reference"
AGAIN = "run `d3s2 ablate` again"


@dataclass(frozen=True)
class AblationRow:
    """How one set of one variant trains one student.

    Args:
        axis: what is varied, or 'reference' for real sets at the recipe's own budget.
        variant: which value.
        overrides: 'key=value' strings that make it from the recipe.
        share: of the training split that the set holds, 0..1.
        energies: mean energies of the finished images, by name; empty for real sets.
        sampling_s: what sampling them took.
        result: the students.
        chosen: of the best real subset, by which method its pairs were chosen.
    """

    __pydantic_config__ = RECORD

    axis: str
    variant: str
    overrides: tuple[str, ...]
    share: float
    energies: dict[str, float]
    sampling_s: float | None
    result: SetResult
    chosen: str | None = None


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
    format_version: int = FORMAT_VERSION

    @property
    def students(self) -> tuple[str, ...]:
        """Architectures, in order of appearance."""
        return tuple(dict.fromkeys(row.result.student for row in self.rows))

    @property
    def axes(self) -> tuple[str, ...]:
        """What was varied, in order of appearance."""
        return tuple(dict.fromkeys(row.axis for row in self.rows if row.axis != REFERENCE))

    @property
    def energies(self) -> tuple[str, ...]:
        """Names of the energies that any row has, in order of appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.energies))

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


def write_ablation(path: Path, ablation: Ablation) -> None:
    """Writes the JSON."""
    write_json(path, asdict(ablation))


def read_ablation(path: Path) -> Ablation:
    """Reads the JSON.

    Raises:
        StoreError: a key is missing, unknown or wrong, or the file is of another format.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 ablate` makes it.")
    content = read_object(path, AGAIN)
    version = content.get("format_version", 1)
    if version != FORMAT_VERSION:
        raise StoreError(f"{path}: is of format version {version}, this d3s2 reads version {FORMAT_VERSION}; {AGAIN}.")
    found: Ablation = record_from(content, Ablation, str(path), AGAIN)
    return found
