"""records.parquet: what came out of each single student, for whoever wants more than means."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_bytes
from d3s2.base.formats.parquet import from_row, read_table, schema_of, to_row

CLASS_NAMES = b"class_names"
SEPARATOR = "\x1f"
ROW_BYTES = 64
"""What a student takes in the packed file at the least: its digest alone is as many bytes of noise."""

Shares = tuple[float | None, ...]


@dataclass(frozen=True)
class StudentRow:
    """One student: a set, an architecture, a seed.

    Args:
        set_name: the set that it was trained on.
        student: architecture.
        items, bytes: size of the set.
        jpeg_bytes: with images as JPEG of quality 90; None where the student was trained by an earlier version.
        iterations: optimiser steps.
        scores: by metric, shares, 0..1; None where no class of the truth counts.
        per_class: name -> shares by train id; None for a class that no test mask holds.
        wall_s, peak_memory_gib: cost of training and scoring.
        digest: of everything that the numbers depend on.
        early_iterations, early_miou: scores on its way, where they were asked for; the last one is in `scores`.
    """

    set_name: str
    student: str
    seed: int
    items: int
    bytes: int
    iterations: int
    scores: dict[str, float | None]
    per_class: dict[str, Shares]
    wall_s: float
    peak_memory_gib: float
    digest: str
    early_iterations: tuple[int, ...] = ()
    early_miou: tuple[float, ...] = ()
    jpeg_bytes: int | None = None


SCHEMA = schema_of(StudentRow)


def write_student_rows(path: Path, rows: Sequence[StudentRow], class_names: Sequence[str]) -> None:
    """Writes records.parquet; the class names stand in the metadata of its schema."""
    schema = SCHEMA.with_metadata({CLASS_NAMES: SEPARATOR.join(class_names).encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(map(to_row, rows)), schema=schema), buffer)
    write_bytes(path, buffer.getvalue())


def read_student_rows(path: Path) -> tuple[tuple[StudentRow, ...], tuple[str, ...]]:
    """The rows of records.parquet and the class names; raises StoreError where it cannot be read."""
    advice = "`d3s2 evaluate` writes it again"
    table = read_table(path, SCHEMA, "records of students", advice, row_bytes=ROW_BYTES)
    try:
        names = tuple(table.schema.metadata[CLASS_NAMES].decode().split(SEPARATOR))
        rows = tuple(StudentRow(**from_row(SCHEMA, record)) for record in table.to_pylist())
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error!r}); {advice}.") from None
    return rows, names
