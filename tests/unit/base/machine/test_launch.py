"""A function in several processes: what it returns, what it raises, and that nothing of it stays."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from torch import distributed

from d3s2.base.errors import DataError, UsageError, WorkError
from d3s2.base.machine.launch import meeting, run_together
from d3s2.base.machine.runtime import LAUNCHED, num_launched


def place(word: str) -> str:
    return f"{word} {os.environ['RANK']} of {os.environ['WORLD_SIZE']}"


def fail_in_the_second(how: str) -> None:
    if os.environ["RANK"] == "0":
        time.sleep(600)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "ours":
        raise DataError("train/0007.png: is no image.")
    raise ValueError("no\nreason")


def test_the_first_process_answers_and_signals_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run_together(place, "process", num_processes=2, work="tried") == "process 0 of 2"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("ours", DataError, r"^train/0007\.png: is no image\.$"),
        ("other", WorkError, r"^One of 2 processes that tried it ended \(ValueError: no reason\), so the others were"),
        ("killed", WorkError, r"ended \(Signal 9 \(SIGKILL\) received by PID \d+\), so .* resumes\.$"),
    ],
)
def test_a_process_that_fails_ends_all_with_a_sentence(
    how: str, kind: type[Exception], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    children, began = set(active_children()), time.monotonic()
    with pytest.raises(kind, match=said):
        run_together(fail_in_the_second, how, num_processes=2, work="tried it")
    assert time.monotonic() - began < 120
    assert set(active_children()) == children
    assert capfd.readouterr() == ("", "")


def summed() -> float:
    """Ranks summed by a group that met by the launcher's environment; the second one starts late."""
    with meeting(torch.device("cpu"), timedelta(seconds=100)):
        number = torch.tensor([float(os.environ["RANK"]) + 1])
        distributed.all_reduce(number)
        return float(number)


def test_launched_processes_meet_and_work_together() -> None:
    assert run_together(summed, num_processes=2, work="summed") == 3.0


def set_launched(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_partner_that_does_not_come_is_named_in_time(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    set_launched(monkeypatch, RANK=rank, LOCAL_RANK=rank, WORLD_SIZE="2", MASTER_ADDR="localhost", MASTER_PORT=port)
    began = time.monotonic()
    said = rf"^Process {rank} of 2 \(RANK, WORLD_SIZE\) waited 3 s at localhost:{port}, and not all of the others came"
    with pytest.raises(WorkError, match=said), meeting(torch.device("cpu"), timedelta(seconds=3)):
        pass
    assert time.monotonic() - began < 120
    assert not distributed.is_initialized()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"RANK": "1"},
            r"one of a group \(RANK=1\), but not of which \(LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT",
        ),
        (
            {"WORLD_SIZE": "2"},
            r"\(WORLD_SIZE=2\), but not of which \(RANK, .*; start the group with torchrun or accelerate",
        ),
        (dict.fromkeys(LAUNCHED, "2"), r"^RANK is 2 and WORLD_SIZE 2: ranks go from 0 to 1; correct or unset them\.$"),
        (dict.fromkeys(LAUNCHED, "one"), "no number in one of them"),
    ],
)
def test_half_a_launch_is_refused(values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_launched(monkeypatch, **values)
    with pytest.raises(UsageError, match=said):
        num_launched()


@pytest.mark.parametrize("values", [{}, {"LOCAL_RANK": "1"}, {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}])
def test_a_process_on_its_own_meets_nobody(values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_launched(monkeypatch, **values)
    with meeting(torch.device("cpu"), timedelta(seconds=3)):
        assert not distributed.is_initialized()


def deaf(folder: str) -> None:
    """Holds the interpreter's lock for ten minutes, as a process that was interrupted in the middle of torch may."""
    Path(folder, str(os.getpid())).touch()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.PyDLL(None).sleep(600)


def is_alive(process_id: str) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not end a child with its parent")
def test_processes_that_hear_nothing_end_with_the_one_that_is_killed(tmp_path: Path) -> None:
    script = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from test_launch import deaf, run_together\n"
        f"run_together(deaf, {os.fspath(tmp_path)!r}, num_processes=2, work='slept')"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL) as parent:
        until = time.monotonic() + 120
        while len(os.listdir(tmp_path)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        parent.kill()
    started = os.listdir(tmp_path)
    assert len(started) == 2
    until = time.monotonic() + 30
    while any(map(is_alive, started)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_alive, started))
