"""What one student left: its counts, what they depend on, and a checksum; read again only where all three agree.

A record is found by its name, and a name says nothing of the content: the record of another student may have been
copied under it, and numbers can be edited. So a record carries what its digest is taken of, and whoever reads it
compares that with what is asked for. One that does not agree is refused and not overwritten, since it may stand for
days of training, and only its owner knows which of the two is wrong.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from d3s2.base import fingerprint
from d3s2.base.errors import StoreError
from d3s2.base.formats.files import read_json, write_json
from d3s2.base.formats.records import Share, record_from

STUDENTS = "students"
Iterations = Annotated[str, Field(pattern=r"^[0-9]{1,12}$")]
CHECKSUM = "checksum"
AGAIN = "put the original back, or delete it to have this student trained again."


@dataclass(frozen=True)
class StudentRecord:
    """What came out of one student.

    Args:
        digest: of `depends`.
        depends: everything that the numbers depend on.
        items: training pairs.
        bytes: of the training pairs as PNG at the working size, estimated where there are many
            (`members.sizes_of`), and of the soft labels that were learnt from.
        jpeg_bytes: the same with images as JPEG (`members.Sizes`); None in records of earlier versions.
        confusion: pixels of (true class, predicted class) over the test split.
        boundary: pixels near contours over the test split: shared, of the truth, of the prediction, by class.
        peak_memory_gib: of main memory, by the main process that trained it.
        early: mIoU by the number of iterations after which it was taken, the last one not among them.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    set_name: str
    student: str
    seed: int
    digest: str
    depends: dict[str, Any]
    items: int
    bytes: int
    iterations: int
    confusion: list[list[int]]
    boundary: list[list[int]]
    wall_s: float
    peak_memory_gib: float
    early: dict[str, float] = field(default_factory=dict)
    jpeg_bytes: int | None = None

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix as int64."""
        return np.array(self.confusion, dtype=np.int64)

    @property
    def boundary_counts(self) -> np.ndarray:
        """The counts near contours as int64."""
        return np.array(self.boundary, dtype=np.int64)


@dataclass(frozen=True)
class Expected:
    """What the record of a student must say.

    Args:
        depends: everything that its numbers depend on.
        items: training pairs.
        test_px: pixels of each class in the test split; every one of them is scored.
    """

    set_name: str
    student: str
    depends: Mapping[str, Any]
    items: int
    test_px: tuple[int, ...]


def digest_of(depends: Mapping[str, Any]) -> str:
    """The digest of everything that a student's numbers depend on; JSON values only."""
    return fingerprint.digest_of("student", depends)


def write_record(path: Path, record: StudentRecord) -> None:
    """Writes a record with its checksum."""
    content = asdict(record)
    write_json(path, content | {CHECKSUM: digest_of(content)})


def read_record(path: Path, expected: Expected) -> StudentRecord:
    """The record in a file; raises StoreError where it is damaged, edited, or another student's."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise StoreError(f"{path}: holds no record of a student; {AGAIN}")
    checksum = content.pop(CHECKSUM, None)
    try:
        record = TypeAdapter(StudentRecord).validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"{path}: is not a whole record of a student (key '{key}': {first['msg'].lower()}); {AGAIN}"
        ) from None
    if checksum != digest_of(content):
        raise StoreError(f"{path}: was changed after it was written, its content does not give its checksum; {AGAIN}")
    problem = _other_student(record, expected) or _contradiction(record, expected)
    if problem:
        raise StoreError(f"{path}: {problem}; {AGAIN}")
    return record


def _other_student(record: StudentRecord, expected: Expected) -> str | None:
    """Which of the things that it depends on are others than were asked for."""
    found = {"set": record.set_name, "student": record.student, **record.depends}
    asked = {"set": expected.set_name, "student": expected.student, **expected.depends}
    others = sorted(key for key in {*found, *asked} if found.get(key) != asked.get(key))
    if others:
        return f"is the record of another student than was asked for (other {', '.join(others)})"
    if record.digest != digest_of(record.depends) or record.seed != record.depends["seed"]:
        return "contradicts itself: its digest or seed is not that of what it says that it depends on"
    return None


def _contradiction(record: StudentRecord, expected: Expected) -> str | None:
    """What in its numbers cannot be, in a part of a sentence."""
    num_classes = len(expected.test_px)
    shapes = {"confusion": (record.confusion, num_classes), "boundary": (record.boundary, 3)}
    for name, (rows, num_rows) in shapes.items():
        if len(rows) != num_rows or any(len(row) != num_classes for row in rows):
            return f"its counts '{name}' are not {num_rows} rows of {num_classes} classes"
        if any(not 0 <= count < 2**53 for row in rows for count in row):
            return f"its counts '{name}' hold a number that is no count of pixels"
    scored = record.matrix.sum(axis=1)
    if tuple(scored.tolist()) != expected.test_px:
        return f"it scores {int(scored.sum()):,} px and the test split has {sum(expected.test_px):,} px, class by class"
    shared, truth, predicted = record.boundary_counts
    if (shared > np.minimum(truth, predicted)).any():
        return "more pixels near contours are shared than there are"
    if record.items != expected.items:
        return f"it learnt from {record.items} pairs and the set has {expected.items}"
    if any(not key.isdecimal() or not 0 <= miou <= 1 for key, miou in record.early.items()):
        return "its early scores are not shares by number of iterations"
    return None


def times_scored(folder: Path, test_digest: str) -> int:
    """The most records that a run's folder holds of one student (set, architecture, seed) scored on one split.

    1 says that no setting was changed there after its score on this split was seen.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    for path in (folder / STUDENTS).glob("[!.]*.json"):
        record = read_json(path)
        depends = record.get("depends") if isinstance(record, dict) else None
        if isinstance(depends, dict) and depends.get("test") == test_digest:
            found[str(record.get("set_name")), str(record.get("student")), str(record.get("seed"))] += 1
    return max(found.values(), default=0)


def student_path(folder: Path, set_name: str, student: str, seed: int, digest: str) -> Path:
    """Where the record of a student lies in the run's folder."""
    names = (re.sub(r"[^A-Za-z0-9.+-]+", "_", name) for name in (set_name, student))
    return folder / STUDENTS / f"{'-'.join(names)}-{seed}-{digest[:12]}.json"


def checkpoint_path(record: Path) -> Path:
    """Where a long training keeps its state until its record is there."""
    return record.with_suffix(".checkpoint.pt")


def early_path(record: Path) -> Path:
    """Where a training keeps its early scores until its record is there."""
    return record.with_suffix(".early.json")


def read_early(path: Path) -> dict[str, float]:
    """Early scores by number of iterations; raises StoreError where they are none."""
    return dict(record_from(read_json(path), dict[Iterations, Share], str(path)))
