"""A pool of new processes: nothing of it is left when its block has ended, however it did."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children

import pytest

from d3s2.base.machine.workers import END_WITHIN_S, ending, spawned_pool


def refuse(seconds: float) -> None:
    time.sleep(seconds)
    raise LookupError("none")


def kill(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getppid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """What a command does at it that a person started: tests that run in the background ignore it otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("first", "error"), [(refuse, LookupError), (kill, BrokenProcessPool), (interrupt, KeyboardInterrupt)]
)
def test_nothing_of_a_pool_is_left_after_an_error(first: object, error: type[BaseException]) -> None:
    """A thread of the pool that is at work while Python ends would make it print a stack trace."""
    threads = set(threading.enumerate())
    started = time.monotonic()
    with pytest.raises(error), spawned_pool(2) as pool:  # noqa: PT012  # what comes out of the block is the matter
        tasks = [pool.submit(ending, task, 0.01) for task in (first, *[time.sleep] * 8)]
        tasks += [pool.submit(ending, time.sleep, 600) for _ in range(3)]
        for task in tasks:
            task.result()
    assert time.monotonic() - started < END_WITHIN_S / 2  # no process had to be killed
    assert set(threading.enumerate()) == threads
    assert not active_children()


def test_a_worker_that_waits_for_a_task_ends_when_asked_to() -> None:
    """Alone: where one of several ends by itself, the pool ends the others."""
    started = time.monotonic()
    with pytest.raises(LookupError), spawned_pool(1) as pool:  # noqa: PT012
        pool.submit(ending, os.getpid).result()
        raise LookupError("none")
    assert time.monotonic() - started < END_WITHIN_S / 2  # outside of a task SIGTERM is an exception a moment later
    assert not active_children()


def test_a_worker_that_was_asked_to_end_between_tasks_begins_no_other() -> None:
    """The handler that came before `ending` is remembered by it."""
    with pytest.raises(BrokenProcessPool), spawned_pool(1) as pool:  # noqa: PT012
        pool.submit(signal.raise_signal, signal.SIGTERM)  # not a task: nothing is raised at once
        pool.submit(ending, time.sleep, 60).result()
