"""Scripts of examples/ run at tiny size, as they are called."""

import re
import runpy
import sys
from pathlib import Path

import pytest
from tiny_run import TINY
from unknown_data import LAYOUTS

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "examples"
RUN_ELSEWHERE = {"train_segformer", *(path.stem for path in SCRIPTS.glob("own_*.py"))}
VIEWS = "data.options={count: {train: 24, val: 12}, size_px: [32, 48]}"
OF_A_FOLDER = ("data.size=[32, 48]", *(word for word in TINY if not word.startswith(("data.", "select."))))


def run(name: str, *words: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *words])
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


def test_every_script_is_run_by_a_test() -> None:
    here = {"architecture_search", "continual_buffer", "from_a_folder"}
    assert {path.stem for path in SCRIPTS.glob("*.py")} == RUN_ELSEWHERE | here


def test_students_are_ranked_on_three_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("architecture_search", "--out", str(tmp_path / "run"), "--iterations", "2", *TINY, VIEWS)
    shown = capsys.readouterr().out
    assert len(re.findall(r"mIoU +\d+\.\d %", shown)) == 12
    assert len(re.findall(r"rank correlation of \w+.* with all real: (-?[01]\.\d\d|nan)", shown)) == 2


def test_a_buffer_is_distilled_from_the_first_task_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("continual_buffer", "--out", str(tmp_path / "run"), "--iterations", "2", *TINY, VIEWS)
    shown = capsys.readouterr().out
    assert len(re.findall(r"mIoU on the first task +\d+\.\d %", shown)) == 4


def test_a_folder_becomes_batches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = LAYOUTS["two_folders"](tmp_path / "data")
    run("from_a_folder", str(data), "--out", str(tmp_path / "mine"), *OF_A_FOLDER)
    assert "a batch: (2, 3, 32, 48) (2, 32, 48)" in capsys.readouterr().out
    run("from_a_folder", str(data), "--out", str(tmp_path / "mine"), *OF_A_FOLDER)
    assert "layout" not in capsys.readouterr().out  # the files are there, and read again
