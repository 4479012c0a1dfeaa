"""records.parquet: what came out of each single student, for whoever wants more than means."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from d3s2.base.errors import StoreError
from d3s2.base.files import write_bytes
from d3s2.base.parquet import read_table

CLASS_NAMES = b"class_names"
SEPARATOR = "\x1f"
Shares = tuple[float | None, ...]


@dataclass(frozen=True)
class StudentRow:
    """One student: a set, an architecture, a seed.

    Args:
        set_name: the set that it was trained on.
        student: architecture.
        items, bytes: size of the set.
        iterations: optimiser steps.
        miou, tail_miou, boundary_iou, fw_iou, pixel_accuracy: shares, 0..1; None where no class of the truth counts.
        iou_per_class, boundary_iou_per_class: by train id; None for a class that no test mask holds.
        wall_s, peak_memory_gib: cost of training and scoring.
        digest: of everything that the numbers depend on.
        early_iterations, early_miou: scores on its way, where they were asked for; the last one is `miou`.
    """

    set_name: str
    student: str
    seed: int
    items: int
    bytes: int
    iterations: int
    miou: float | None
    tail_miou: float | None
    boundary_iou: float | None
    fw_iou: float | None
    pixel_accuracy: float | None
    iou_per_class: Shares
    boundary_iou_per_class: Shares
    wall_s: float
    peak_memory_gib: float
    digest: str
    early_iterations: tuple[int, ...] = ()
    early_miou: tuple[float, ...] = ()


SCHEMA = pa.schema(
    [
        ("set_name", pa.string()),
        ("student", pa.string()),
        ("seed", pa.int64()),
        ("items", pa.int64()),
        ("bytes", pa.int64()),
        ("iterations", pa.int64()),
        ("miou", pa.float64()),
        ("tail_miou", pa.float64()),
        ("boundary_iou", pa.float64()),
        ("fw_iou", pa.float64()),
        ("pixel_accuracy", pa.float64()),
        ("iou_per_class", pa.list_(pa.float64())),
        ("boundary_iou_per_class", pa.list_(pa.float64())),
        ("wall_s", pa.float64()),
        ("peak_memory_gib", pa.float64()),
        ("digest", pa.string()),
        ("early_iterations", pa.list_(pa.int64())),
        ("early_miou", pa.list_(pa.float64())),
    ]
)


def write_student_rows(path: Path, rows: Sequence[StudentRow], class_names: Sequence[str]) -> None:
    """Writes records.parquet; the class names stand in the metadata of its schema."""
    schema = SCHEMA.with_metadata({CLASS_NAMES: SEPARATOR.join(class_names).encode()})
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), buffer)
    write_bytes(path, buffer.getvalue())


def read_student_rows(path: Path) -> tuple[tuple[StudentRow, ...], tuple[str, ...]]:
    """The rows of records.parquet and the class names; raises StoreError where it cannot be read."""
    advice = "`d3s2 evaluate` writes it again"
    table = read_table(path, SCHEMA, "records of students", advice, row_bytes=1)
    try:
        names = tuple(table.schema.metadata[CLASS_NAMES].decode().split(SEPARATOR))
        rows = tuple(_row(record) for record in table.to_pylist())
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: cannot be read ({error!r}); {advice}.") from None
    return rows, names


def _row(record: dict[str, Any]) -> StudentRow:
    lists = {key: tuple(value) for key, value in record.items() if isinstance(value, list)}
    return StudentRow(**(record | lists))
