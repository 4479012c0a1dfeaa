"""The grid of an evaluation: sets x architectures x seeds, one table."""

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import TINY, call

from d3s2.results.records import read_results
from d3s2.results.student_rows import StudentRow, read_student_rows
from d3s2.store.items import ItemFacts
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.writer import SetWriter

SETS = ("random", "distilled", "all")
STUDENTS = ("compact-unet", "segformer-b0")
GRID = (
    *TINY,
    f"evaluate.sets=[{', '.join(SETS)}]",
    "evaluate.architectures=[compact-unet, {name: segformer-b0, lr: 0.0001, batch: 2}]",
    "evaluate.score_every=1",
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
    assert all(len(row.per_class["iou"]) == len(row.per_class["boundary_iou"]) == len(names) for row in rows)
    for row in rows:
        for share in map(row.scores.get, ("miou", "boundary_iou", "fw_iou", "pixel_accuracy")):
            assert share is not None
            assert 0 <= share <= 1


def test_the_table_has_a_row_a_set_and_student(grid: Path) -> None:
    results = read_results(grid / "results.json")
    assert results.students == STUDENTS
    assert [(row.student, row.name) for row in results.sets] == [(s, name) for s in STUDENTS for name in SETS]
    rows, _ = read_student_rows(grid / "records.parquet")
    for row in results.sets:
        mine = [one for one in rows if (one.set_name, one.student) == (row.name, row.student)]
        assert row.per_seed["miou"] == tuple(one.scores["miou"] for one in mine)
        assert row.mean("pixel_accuracy") == pytest.approx(sum(one.scores["pixel_accuracy"] or 0 for one in mine) / 2)
    lines = list(csv.DictReader((grid / "results.csv").read_text().splitlines()))
    assert [(line["student"], line["name"]) for line in lines] == [(row.student, row.name) for row in results.sets]
    assert (grid / "results.md").read_text().startswith("| student | set | items |")
    assert "boundary IoU" in (grid / "results.tex").read_text()


def test_students_are_scored_on_their_way_where_that_is_asked_for(grid: Path) -> None:
    rows, _ = read_student_rows(grid / "records.parquet")
    assert {row.early_iterations for row in rows} == {(1,)}
    for row in read_results(grid / "results.json").sets:
        mine = [one for one in rows if (one.set_name, one.student) == (row.name, row.student)]
        assert [one.mean for one in row.early_miou] == [pytest.approx(sum(one.early_miou[0] for one in mine) / 2)]
    assert "mIoU of segformer-b0 by iterations of training" in (grid / "report.html").read_text()
    before = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    assert all(name.endswith(".json") and ".early." not in name for name in before)
    again = ("evaluate", "scenes", *GRID, "evaluate.score_every=0", "--out", str(grid), "--device", "cpu")
    assert call(*again) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()} == before


def scores(folder: Path) -> list[StudentRow]:
    """Every row of the table without what a clock says."""
    rows, _ = read_student_rows(folder / "records.parquet")
    return [replace(row, wall_s=0.0, peak_memory_gib=0.0) for row in rows]


def num_records(folder: Path) -> int:
    """Students that are done; early scores, which lie beside them meanwhile, are not counted."""
    return sum(".early." not in path.name for path in (folder / "students").glob("[!.]*.json"))


def alive(process_id: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(process_id: int) -> list[int]:
    """Processes that a process started."""
    threads = Path(f"/proc/{process_id}/task").glob("*/children")
    return [int(word) for thread in threads if thread.exists() for word in thread.read_text().split()]


def descendants(process_id: int) -> list[int]:
    """Processes that a process started, and those that they started."""
    own = children(process_id)
    return [*own, *(one for child in own for one in descendants(child))]


def waited_for(condition: Callable[[], bool], limit_s: float = 400) -> bool:
    until = time.monotonic() + limit_s
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_killed_twice_and_resumed_gives_the_table_of_one_run(grid: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    shutil.copytree(grid, killed, ignore=shutil.ignore_patterns("students", "results.*", "*.parquet.part"))
    # several workers: those of a killed process must not live on and work in its folder
    for records, workers in ((2, 2), (7, 1)):
        asked = (*GRID, f"evaluate.workers={workers}", "evaluate.checkpoint_s=0")
        command = [sys.executable, "-m", "d3s2.cli", "evaluate", "scenes", *asked, "--out", str(killed)]
        with subprocess.Popen(
            [*command, "--device", "cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:

            def some_are_done(records: int = records, process: subprocess.Popen[bytes] = process) -> bool:
                return num_records(killed) >= records or process.poll() is not None

            waited_for(some_are_done)
            started = children(process.pid)
            process.send_signal(signal.SIGKILL)
        assert num_records(killed) >= records
        assert not (killed / "results.json").exists()
        assert waited_for(lambda started=started: not any(map(alive, started)))
    assert call("evaluate", "scenes", *GRID, "--out", str(killed), "--device", "cpu") == 0
    assert scores(killed) == scores(grid)
    assert not list((killed / "students").glob("*.pt"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_students_of_two_processes_go_on_where_they_were_stopped(grid: Path, tmp_path: Path) -> None:
    asked = (*GRID, "evaluate.sets=[random]", "evaluate.architectures=[compact-unet]", "evaluate.seeds=1")
    words = ["scenes", *asked, "evaluate.train.iterations=300", "evaluate.checkpoint_s=0", "--device", "cpu"]
    words.insert(1, "evaluate.score_every=60")
    together = [*words, "evaluate.devices_per_student=2"]
    through, stopped = tmp_path / "through", tmp_path / "stopped"
    for folder in (through, stopped):
        shutil.copytree(grid, folder, ignore=shutil.ignore_patterns("students", "results.*", "*.parquet.part"))
    assert call("evaluate", *together, "--out", str(through)) == 0
    steps = [0]
    for how, status in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        command = [sys.executable, "-m", "d3s2.cli", "evaluate", *together, "--out", str(stopped)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:

            def is_further(process: subprocess.Popen[str] = process) -> bool:
                return step_in(stopped) > steps[-1] or process.poll() is not None

            waited_for(is_further)
            started = descendants(process.pid)
            process.send_signal(how)
            _, said = process.communicate(timeout=120)
        assert process.returncode == status
        # After a kill the two processes die one before the other, and the second may still say what it saw.
        assert how == signal.SIGKILL or "Traceback" not in said
        assert len(started) >= 2
        assert waited_for(lambda started=started: not any(map(alive, started)))
        steps.append(step_in(stopped))
    assert 0 < steps[1] < steps[2] < 300
    assert call("evaluate", *together, "--out", str(stopped)) == 0
    assert scores(stopped) == scores(through)
    assert call("evaluate", *words, "--out", str(stopped)) == 0
    alone, pair = scores(stopped)[0], scores(through)[0]
    assert alone.digest != pair.digest
    assert alone.scores["miou"] == pytest.approx(pair.scores["miou"], abs=0.05)


def step_in(folder: Path) -> int:
    """Of the checkpoint of the one student in work; 0 where there is none."""
    found = list((folder / "students").glob("[!.]*.checkpoint.pt"))
    return int(torch.load(found[0], weights_only=True)["step"]) if found else 0


def test_another_architecture_more_trains_only_its_own_students(grid: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    assert len(before) == len(SETS) * len(STUDENTS) * 2
    one_more = ("evaluate.sets=[random]", "evaluate.seeds=3", "evaluate.architectures=[compact-unet]")
    assert call("evaluate", "scenes", *GRID, *one_more, "--out", str(grid), "--device", "cpu") == 0
    after = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_a_metric_of_ones_own_is_in_every_file_and_trains_nobody(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "examples")
    before = {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()}
    own = "own_metric:classes_seen"
    asked = ("evaluate.sets=[random]", "evaluate.architectures=[compact-unet]", f"evaluate.metrics=[miou, '{own}']")
    assert call("evaluate", "scenes", *GRID, *asked, "--out", str(grid), "--device", "cpu") == 0
    assert {path.name: path.stat().st_mtime_ns for path in (grid / "students").iterdir()} == before
    (row,) = read_results(grid / "results.json").sets
    assert list(row.scores) == ["miou", own]
    rows, _ = read_student_rows(grid / "records.parquet")
    assert row.per_seed[own] == tuple(one.scores[own] for one in rows)
    (line,) = csv.DictReader((grid / "results.csv").read_text().splitlines())
    assert float(line[f"{own}_mean"]) == row.mean(own) == pytest.approx(sum(row.known_per_seed(own)) / 2)
    for name in ("results.md", "results.tex", "report.html"):
        assert "classes seen, " in (grid / name).read_text()


def soft_copy(source: Path, folder: Path) -> None:
    """The distilled set of a run once more, with soft labels: a folder made elsewhere."""
    distilled = DistilledSet(source)
    writer = SetWriter(folder, "elsewhere", distilled.space)
    for item_id in distilled.ids:
        mask, item = distilled.mask(item_id), distilled.item(item_id)
        facts = ItemFacts(source_id=item.source_id, seed=item.seed, candidate=item.candidate)
        shares = (mask == [[[index]] for index in range(distilled.space.num_classes)]) * 0.9 + 0.01
        writer.write(item_id, distilled.image(item_id), mask, facts, soften(torch.from_numpy(shares), cell_px=4))
    writer.finish(
        {key: distilled.manifest[key] for key in ("config", "inputs", "models", "versions", "commit", "cost")}
    )


def test_other_selections_mixes_and_folders_from_elsewhere_are_sets_too(grid: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    soft_copy(grid, elsewhere)
    names = ["rarest-first", "balanced+distilled", "all+distilled", f"{elsewhere}", f"balanced+{elsewhere}-soft"]
    names += ["all", f"{elsewhere}-soft", f"random@{elsewhere}-soft", f"rarest-first@{elsewhere}"]
    asked = (f"evaluate.sets={json.dumps(names)}", "evaluate.architectures=[compact-unet]", "evaluate.seeds=1")
    inference = "evaluate.inference={window_px: [32, 32], stride_px: [16, 16]}"
    assert call("evaluate", "scenes", *GRID, *asked, inference, "--out", str(grid), "--device", "cpu") == 0
    rows = {row.name: row for row in read_results(grid / "results.json").sets}
    assert [rows[name].items for name in names[:6]] == [5, 10, 29, 5, 10, 24]
    for made, real in ((names[6], names[7]), (names[3], names[8])):
        assert rows[real].items == round(rows[made].bytes / (rows["all"].bytes / 24))
    assert rows[names[7]].items > rows[names[8]].items
    labels = sum(path.stat().st_size for path in (elsewhere / "soft").iterdir())
    assert rows[names[4]].bytes == rows["balanced+distilled"].bytes + labels
    assert rows[names[4]].per_seed != rows["balanced+distilled"].per_seed
    assert "balanced real + distilled" in (grid / "report.html").read_text()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("distilled-soft", "has no soft labels, or not for every item"), ("./nowhere/else", "there is no such folder")],
)
def test_a_set_that_is_not_there_is_a_sentence(
    name: str, sentence: str, grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", "scenes", *GRID, f"evaluate.sets=['{name}']", "--out", str(grid), "--device", "cpu") == 1
    assert sentence in capsys.readouterr().err


def test_a_damaged_set_from_elsewhere_is_refused(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft_copy(grid, tmp_path / "elsewhere")
    image = next((tmp_path / "elsewhere" / "images").iterdir())
    image.write_bytes(image.read_bytes()[:-20])
    asked = f"evaluate.sets=['{tmp_path / 'elsewhere'}']"
    assert call("evaluate", "scenes", *GRID, asked, "--out", str(grid), "--device", "cpu") == 1
    assert "is not sound (" in capsys.readouterr().err
