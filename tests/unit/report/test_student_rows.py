"""records.parquet keeps every number of every student."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from d3s2.base.errors import StoreError
from d3s2.results.student_rows import StudentRow, read_student_rows, write_student_rows


def row(seed: int) -> StudentRow:
    return StudentRow(
        set_name="random",
        student="segformer-b0",
        seed=seed,
        items=20,
        bytes=12345,
        iterations=400,
        scores={"miou": 0.1 + seed / 3, "tail_miou": None, "boundary_iou": 0.2, "own.scores:score": 0.4},
        per_class={"iou": (0.1, None), "boundary_iou": (None, 0.2)},
        wall_s=12.5,
        peak_memory_gib=1.5,
        digest="abc",
    )


def test_rows_survive_the_file_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    path, rows, names = tmp_path / "records.parquet", (row(0), row(1)), ("sky, clouds", "car")
    write_student_rows(path, rows, names)
    first = path.read_bytes()
    assert read_student_rows(path) == (rows, names)
    write_student_rows(path, rows, names)
    assert path.read_bytes() == first
    per_class = pq.read_table(path).column("per_class").to_pylist()
    assert [dict(one)["iou"] for one in per_class] == [[0.1, None], [0.1, None]]


def test_a_missing_or_foreign_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"records.parquet: there is no such file, .*`d3s2 evaluate` writes it again\.$"
    ):
        read_student_rows(tmp_path / "records.parquet")
    (tmp_path / "other.parquet").write_bytes(b"not a table")
    with pytest.raises(StoreError, match=r"other\.parquet: cannot be read"):
        read_student_rows(tmp_path / "other.parquet")
