"""The grid of an evaluation: sets x architectures x seeds, one table."""

import csv
from pathlib import Path

import pytest
from tiny_run import TINY, call

from d3s2.report.records import read_results
from d3s2.report.student_rows import read_student_rows

SETS = ("random", "distilled", "all")
STUDENTS = ("compact-unet", "segformer-b0")
GRID = (
    *TINY,
    f"evaluate.sets=[{', '.join(SETS)}]",
    "evaluate.architectures=[compact-unet, {name: segformer-b0, lr: 0.0001, batch: 2}]",
)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid") / "run"
    assert call("evaluate", "scenes", *GRID, "--out", str(folder), "--device", "cpu") == 0
    return folder


def test_every_set_architecture_and_seed_has_a_row(grid: Path) -> None:
    rows, names = read_student_rows(grid / "records.parquet")
    assert {(row.set_name, row.student, row.seed) for row in rows} == {
        (name, student, seed) for name in SETS for student in STUDENTS for seed in (0, 1)
    }
    assert all(len(row.iou_per_class) == len(row.boundary_iou_per_class) == len(names) for row in rows)
    for row in rows:
        for share in (row.miou, row.boundary_iou, row.fw_iou, row.pixel_accuracy):
            assert share is not None
            assert 0 <= share <= 1


def test_the_table_has_a_row_a_set_and_student(grid: Path) -> None:
    results = read_results(grid / "results.json")
    assert results.students == STUDENTS
    assert [(row.student, row.name) for row in results.sets] == [(s, name) for s in STUDENTS for name in SETS]
    rows, _ = read_student_rows(grid / "records.parquet")
    for row in results.sets:
        mine = [one for one in rows if (one.set_name, one.student) == (row.name, row.student)]
        assert row.miou_per_seed == tuple(one.miou for one in mine)
        assert row.pixel_accuracy_mean == pytest.approx(sum(one.pixel_accuracy or 0 for one in mine) / 2)
    lines = list(csv.DictReader((grid / "results.csv").read_text().splitlines()))
    assert [(line["student"], line["name"]) for line in lines] == [(row.student, row.name) for row in results.sets]
    assert (grid / "results.md").read_text().startswith("| student | set | items |")
    assert "boundary IoU" in (grid / "results.tex").read_text()


def test_another_architecture_more_trains_only_its_own_students(grid: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    assert len(before) == len(SETS) * len(STUDENTS) * 2
    one_more = ("evaluate.sets=[random]", "evaluate.seeds=3", "evaluate.architectures=[compact-unet]")
    assert call("evaluate", "scenes", *GRID, *one_more, "--out", str(grid), "--device", "cpu") == 0
    after = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
