"""The same bytes from one process, two, Ray actors and four shares of a folder, with one of them killed on the way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_run import TINY, call, content, distil

LONG = ("synthesize.batch=1", "synthesize.steps=12")
MADE = ("images", "labels", "unguided", "traces", "items.parquet", "manifest.json", "README.md", "log.jsonl")
"""What synthesis leaves; without it a folder is one where it is about to begin."""

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "run"
    assert distil(folder, *LONG) == 0
    return folder


@pytest.fixture
def about_to_begin(one: Path, tmp_path: Path) -> Path:
    shutil.copytree(one, tmp_path / "run", ignore=lambda place, _: MADE if Path(place) == one else ())
    return tmp_path / "run"


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Begins `d3s2 distill` in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def begun(out: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "d3s2.cli", "distill", "scenes", *TINY, *LONG, *words]
        started.append(
            subprocess.Popen(
                [*command, "--out", str(out), "--device", "cpu"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            )
        )
        return started[-1]

    yield begun
    for process in started:
        process.kill()
        process.communicate()


def worker_of_the_first_piece(log: Path, process: "subprocess.Popen[str]") -> int:
    until = time.monotonic() + 240
    while time.monotonic() < until:
        lines = log.read_text().splitlines() if log.exists() else []
        if lines:
            return int(json.loads(lines[0])["worker"].rpartition(":")[2])
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(log)


def no_noise(said: str) -> bool:
    return not re.search(r"Traceback|[Ww]arning|ray::|\(raylet\)", said)


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed(one: Path, about_to_begin: Path, begin: Begin) -> None:
    process = begin(about_to_begin, "--workers", "2")
    os.kill(worker_of_the_first_piece(about_to_begin / "log.jsonl", process), signal.SIGKILL)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 1
    assert "A worker process was ended from outside" in said
    assert no_noise(said)
    again = begin(about_to_begin, "--workers", "2")
    assert no_noise(again.communicate(timeout=240)[0])
    assert again.returncode == 0
    assert content(about_to_begin) == content(one)


@pytest.mark.slow
def test_two_ray_actors_of_which_one_is_killed(one: Path, about_to_begin: Path, begin: Begin) -> None:
    process = begin(about_to_begin, "--executor", "ray", "--workers", "2")
    killed = worker_of_the_first_piece(about_to_begin / "log.jsonl", process)
    os.kill(killed, signal.SIGKILL)
    said = process.communicate(timeout=240)[0]
    assert process.returncode == 0, said
    assert no_noise(said)
    assert content(about_to_begin) == content(one)
    log = [json.loads(line) for line in (about_to_begin / "log.jsonl").read_text().splitlines()]
    assert sorted(line["piece"] for line in log) == [f"{number:06d}" for number in range(5)]
    assert {line["step"] for line in log} == {"synthesize"}


@pytest.mark.slow
def test_an_array_of_four_of_which_one_is_killed_is_joined(
    one: Path, about_to_begin: Path, begin: Begin, capsys: pytest.CaptureFixture[str]
) -> None:
    array = {"SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}
    tasks = [begin(about_to_begin, **array, SLURM_ARRAY_TASK_ID=str(number)) for number in range(4)]
    killed = worker_of_the_first_piece(about_to_begin / "log-1-of-4.jsonl", tasks[0])
    assert killed == tasks[0].pid
    tasks[0].kill()
    for number, task in enumerate(tasks[1:], start=2):
        said = task.communicate(timeout=240)[0]
        assert task.returncode == 0, said
        assert f"Share {number}/4 of {about_to_begin} is done." in said
        assert no_noise(said)
    damaged, missing = sorted((about_to_begin / "images").iterdir())[:2]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    missing.unlink()
    assert call("join", str(about_to_begin)) == 1
    said = capsys.readouterr().err
    assert f"2 of 5 items are missing or damaged ({damaged.stem}, {missing.stem})" in said
    assert begin(about_to_begin, "--shard", "4/4").wait(timeout=240) == 0
    assert call("join", str(about_to_begin)) == 0
    assert content(about_to_begin) == content(one)
    assert call("verify", str(about_to_begin)) == 0
    assert call("join", str(about_to_begin)) == 0  # there is nothing left to do


@pytest.mark.slow
def test_an_evaluation_on_ray_and_one_of_shares_have_the_numbers_of_one_process(one: Path, tmp_path: Path) -> None:
    words = ("evaluate", "scenes", *TINY, *LONG, "evaluate.sets=[random, distilled]", "evaluate.seeds=1")
    scores = []
    for name, where in (("here", ()), ("ray", ("--executor", "ray"))):
        shutil.copytree(one, tmp_path / name)
        assert call(*words, "--out", str(tmp_path / name), "--device", "cpu", *where) == 0
        records = sorted((tmp_path / name / "students").glob("*.json"))
        scores.append([json.loads(path.read_text())["confusion"] for path in records])
        lines = map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        workers = {line["worker"].rpartition(":")[2] for line in lines if line["step"] in ("students", "judges")}
        assert (str(os.getpid()) in workers) == (name == "here")
    assert scores[0] == scores[1]
    assert len(scores[0]) == 2
    share = tmp_path / "share"
    shutil.copytree(one, share)
    assert call(*words, "--out", str(share), "--device", "cpu", "--shard", "2/3") == 0  # the others never come
    log = [json.loads(line) for line in (share / "log-2-of-3.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log].count("students") == 2
    assert {line["step"] for line in log} == {"census", "students", "judges"}  # the census of the test split
    before = (share / "log.jsonl").read_bytes()
    assert call(*words, "--out", str(share), "--device", "cpu") == 0
    assert (share / "log.jsonl").read_bytes() == before  # nothing is left for the last call but tables
    records = sorted((share / "students").glob("*.json"))
    assert [json.loads(path.read_text())["confusion"] for path in records] == scores[0]
    judged = [json.loads((tmp_path / name / "judges.json").read_text()) for name in ("here", "ray", "share")]
    assert judged[0] == judged[1] == judged[2]
    assert [row["name"] for row in judged[0]["rows"]] == ["distilled", "own-real", "unseen-real"]
