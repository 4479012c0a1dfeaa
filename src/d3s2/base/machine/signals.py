"""What Ctrl-C and SIGTERM do to a command: a sentence and exit status 130 or 143, never a stack trace."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit status, as a shell has it
SENTENCES = {
    INTERRUPTED: "Stopped. The same call resumes from here.",
    TERMINATED: "Ended by SIGTERM. The same call resumes from here.",
}
NUMBERS = (signal.SIGINT, signal.SIGTERM)
AGAIN_S = 0.05


def sentence_of(exit_status: int) -> str:
    """What a person is told who stopped a command."""
    return SENTENCES[exit_status]


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Within the block a signal ends the process at once: while modules are imported nothing is half-done.

    An exception would be lost where Python calls back in the middle of an import, or be printed as a stack trace.
    """
    with _handled(_leave):
        yield


@contextmanager
def unwinding() -> Iterator[None]:
    """Within the block a signal is an exception, so that what is half-done is dropped and child processes are ended.

    A second one ends the process at once. Where Python drops the exception, as in a finalizer, the signal comes again.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        SystemExit: with exit status 143, at SIGTERM.
    """
    with _handled(_unwind), _sent_again_where_dropped():
        yield


def _leave(number: int, _: FrameType | None) -> None:
    os.write(2, f"d3s2: {SENTENCES[128 + number]}\n".encode())
    os._exit(128 + number)


def _unwind(number: int, _: FrameType | None) -> None:
    for each in NUMBERS:
        signal.signal(each, signal.SIG_DFL)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def _sent_again_where_dropped() -> Iterator[None]:
    """Within the block an exception of `_unwind` that Python cannot raise is raised a moment later, elsewhere."""
    before = sys.unraisablehook

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        number = _signal_of(dropped.exc_value)
        if number is None:
            before(dropped)
            return
        for each in NUMBERS:
            signal.signal(each, _unwind)
        threading.Timer(AGAIN_S, os.kill, (os.getpid(), number)).start()  # at once would be in the finalizer still

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _signal_of(error: BaseException | None) -> int | None:
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    return signal.SIGTERM if isinstance(error, SystemExit) and error.code == TERMINATED else None


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Sets the handler within the block; signals that are ignored (as under `nohup`) stay so."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in NUMBERS}
        before = {number: was for number, was in before.items() if was is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, was in before.items():
            if signal.getsignal(number) is handler:  # not so after a signal: the next one then ends the process
                signal.signal(number, was)
