"""A function in several processes: what it returns, what it raises, and that nothing of it stays."""

import os
import signal
import time
from multiprocessing import active_children

import pytest

from d3s2.base.errors import DataError, WorkError
from d3s2.base.launch import run_together


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
        ("killed", WorkError, r"ended \(Signal 9 \(SIGKILL\) received by PID \d+\), so .* goes on\.$"),
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
