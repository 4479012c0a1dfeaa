"""Worker processes that do not outlive the process that started them, and that Ctrl-C reaches through it alone."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process, util
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, TypeVar

from d3s2.base.machine.signals import AGAIN_S, TERMINATED

ORPHANED = 1  # exit status
END_WITHIN_S = 30.0  # seconds in which a process ends when asked to, before it is killed
T = TypeVar("T")
PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that this process gets when the one that started it ends


@contextmanager
def signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """Signals come to this thread at the end of the block, and never to processes that it starts within the block.

    A terminal sends Ctrl-C to all processes of a command, which would print stack traces: the one that started the
    others ends them. And a start that is broken off leaves a process without its task.
    """
    held: list[int] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # only this one may set handlers, and runs them
        handlers = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in numbers}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # what is blocked stays so in a new process
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for held_number, handler in handlers.items():
            signal.signal(held_number, handler or signal.SIG_DFL)
        for came in held:  # by another thread, which blocks nothing
            signal.raise_signal(came)


@contextmanager
def spawned_pool(count: int, begin: Callable[..., None] | None = None, *args: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` new processes, started at once; each ends with this one.

    They are spawned, not forked: a fork of a process that runs threads (torch has some) can hang. Where the block is
    left by an exception, what has not begun never does, and what is in work is ended. Tasks return little: one that is
    ended in the middle of sending megabytes would leave the pool waiting for the rest.

    Args:
        begin: called with `args` in each process before its first task.
    """
    others = set(active_children())
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin, initargs=(begin, *args))
    try:
        with signals_held(signal.SIGINT, signal.SIGTERM):
            for _ in range(count):  # a task that finds no idle process starts one
                pool.submit(int)
        yield pool
    except BaseException:  # or the pool would wait for what is in work, and begin what is not
        _end(set(active_children()) - others)
        pool.shutdown(cancel_futures=True)  # its thread, still at work when Python ends, makes it print a trace
        raise
    pool.shutdown()


def _end(processes: Collection[BaseProcess]) -> None:
    """Waits for them too: one that still starts would find the locks of this process removed, and print a trace."""
    for process in processes:
        process.terminate()  # one that still starts gets it in `_begin`
    until = time.monotonic() + END_WITHIN_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()


def ending(function: Callable[..., T], *args: Any) -> T:
    """Calls `function(*args)` as a task of a `spawned_pool`; where SIGTERM comes meanwhile, the worker ends.

    The pool would take the exception for the task's outcome, and the worker would wait for another task.
    """
    try:
        _sigterm.in_task = True
        if _sigterm.came:  # while the pool sent back what came before
            raise SystemExit(TERMINATED)
        return function(*args)
    except SystemExit as stop:
        util._exit_function()  # type: ignore[attr-defined]  # removes the locks of processes that the task started
        os._exit(int(stop.code or 0))
    finally:
        _sigterm.in_task = False


class _Sigterm:
    """What SIGTERM does in a worker: within a task it is a SystemExit, once, so that the task ends its own processes.

    Between tasks it is one as well, a moment later, and again until the worker has ended: the pool's own code drops
    exceptions where it sends back an outcome, and an outcome that is sent by halves would hold up the process that
    reads it.
    """

    def __init__(self) -> None:
        self.came = self.in_task = False

    def handle(self, number: int, _: FrameType | None) -> None:
        first, self.came = not self.came, True
        if first and "D3S2_DEBUG" not in os.environ:  # the launcher of a group logs traces of processes that are ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        if self.in_task:
            if first:
                raise SystemExit(TERMINATED)
        elif number == signal.SIGALRM:
            raise SystemExit(TERMINATED)
        else:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)


_sigterm = _Sigterm()


def _begin(begin: Callable[..., None] | None, *args: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    end_with_parent()
    if begin is not None:
        begin(*args)
    for number in (signal.SIGTERM, signal.SIGALRM):  # last: the pool prints what is raised here
        signal.signal(number, _sigterm.handle)


def end_with_parent() -> None:
    """Ends this process as soon as its parent is gone.

    A pool's workers wait for work on a pipe that they themselves hold open, so a killed parent would leave them
    waiting for ever. On Linux the kernel ends them: a thread of their own needs the interpreter's lock, which a process
    that torch interrupted in the middle of a collective never gives back. The thread serves other systems, and a parent
    that was gone before.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_wait, name="end-with-parent", daemon=True).start()


def _wait() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(ORPHANED)
