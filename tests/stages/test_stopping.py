"""SIGTERM and Ctrl-C: a sentence, exit status 143 or 130, no process left, and the same call resumes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_run import TINY, call, content, distil

SAID = {
    signal.SIGTERM: (143, "d3s2: Ended by SIGTERM. The same call resumes from here."),
    signal.SIGINT: (130, "d3s2: Stopped. The same call resumes from here."),
}


Process = subprocess.Popen[str]


@pytest.fixture
def begun() -> Iterator[Callable[..., Process]]:
    """Begins a command in a process group of its own, which hears Ctrl-C even where tests run in the background."""
    default = (
        "import signal, runpy, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'd3s2'"
    )
    script = f"{default}; runpy.run_module('d3s2.cli', run_name='__main__', alter_sys=True)"
    started: list[Process] = []

    def begin(*words: str) -> Process:
        command = [sys.executable, "-c", script, *words]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, start_new_session=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_until(condition: Callable[[], object], process: Process) -> None:
    until = time.monotonic() + 240
    while not condition() and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def children_of(process: Process) -> list[int]:
    found, pending = [], [process.pid]
    while pending:
        for task in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            try:
                pending += (numbers := [int(number) for number in task.read_text().split()])
            except OSError:
                continue
            found += numbers
    return found


def is_alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("number", SAID)
def test_stopped_in_the_middle_of_synthesis(
    number: signal.Signals, begun: Callable[..., Process], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    process = begun("distill", "scenes", *TINY, "synthesize.steps=40", "--out", str(folder), "--device", "cpu")
    wait_until(lambda: list((folder / "images").glob("*.png")), process)
    process.send_signal(number)
    status, sentence = SAID[number]
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status
    assert said.strip().splitlines()[-1] == sentence
    assert "Traceback" not in said
    assert not (folder / "manifest.json").exists()
    assert not list(folder.rglob("*.part"))
    for out in (folder, tmp_path / "whole"):
        assert distil(out, "synthesize.steps=40") == 0
    assert content(folder) == content(tmp_path / "whole")


@pytest.mark.parametrize("number", SAID)
def test_stopped_while_it_is_still_importing(
    number: signal.Signals, begun: Callable[..., Process], tmp_path: Path
) -> None:
    process = begun("distill", "scenes", *TINY, "--out", str(tmp_path / "run"), "--device", "cpu")
    # torch's libraries are mapped while it is imported, long before the run's folder is there
    wait_until(lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text(), process)
    assert not (tmp_path / "run").exists()
    process.send_signal(number)
    status, sentence = SAID[number]
    assert process.communicate(timeout=120)[1] == f"{sentence}\n"
    assert process.returncode == status


@pytest.mark.skipif(sys.platform != "linux", reason="/proc shows who is whose child")
@pytest.mark.slow
@pytest.mark.parametrize("number", SAID)
def test_stopped_while_processes_train_students(
    number: signal.Signals,
    begun: Callable[..., Process],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    long = (
        "evaluate.train.iterations=100000",
        "evaluate.train.batch=4",
        "evaluate.sets=[random]",
        "evaluate.workers=2",
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    process = begun("evaluate", "scenes", *TINY, *long, "--out", str(folder), "--device", "cpu")
    # from the first moments of a process, in which it imports, to when it trains
    wait_until(lambda: len(children_of(process)) >= 3, process)
    children = children_of(process)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)  # as a terminal does
    status, sentence = SAID[number]
    said = process.communicate(timeout=120)[1]
    assert process.returncode == status
    assert "Traceback" not in said
    assert said.strip().splitlines()[-1] == sentence
    until = time.monotonic() + 30
    while any(map(is_alive, children)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert call("--version") == 0
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
