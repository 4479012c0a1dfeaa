"""A function in several processes that work as one; torch's elastic launcher starts and watches them.

In them torch.distributed, and accelerate on top of it, find each other by the environment, as under `torchrun`.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from d3s2.base import errors
from d3s2.base.workers import end_with_parent

LAUNCHER_LOGS = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # that the launcher puts its own handlers on
T = TypeVar("T")


def run_together(function: Callable[..., T], *args: object, num_processes: int, work: str) -> T:
    """Calls `function(*args)` in each of several new processes and returns what it returned in the first.

    The first process that fails ends all; none outlives this one, however it ends. What they print is dropped, except
    with D3S2_DEBUG in the environment.

    Args:
        function: of a module, not a closure: it travels by name.
        work: what the processes do, for a sentence; begins with a verb in the past ("trained ...").

    Raises:
        D3S2Error: that a process raised.
        WorkError: a process raised something else, or was ended from outside.
    """
    with ExitStack() as stack:
        logs = stack.enter_context(TemporaryDirectory(prefix="d3s2-"))
        stack.enter_context(_launcher_silent())
        stack.enter_context(_signals_kept())
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=num_processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",  # a free port, so that several groups may work side by side
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs, redirects=Std.NONE if "D3S2_DEBUG" in os.environ else Std.ALL),
        )
        try:
            returned: dict[int, T] = elastic_launch(config, _begin)(function, *args)
        except ChildFailedError as error:
            raise _as_ours(error.get_first_failure()[1], num_processes, work) from None
        except SignalException as stop:
            if stop.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stop.sigval) from None
    return returned[0]


def _begin(function: Callable[..., T], *args: object) -> T:
    end_with_parent()
    return function(*args)


def _as_ours(failure: ProcessFailure, num_processes: int, work: str) -> errors.D3S2Error:
    """What a process raised where it is one of ours, or a sentence about its end."""
    found: Any = failure.message  # a table where the process could still tell what happened
    message = str(found["message"] if isinstance(found, dict) else found)
    kind, _, text = message.partition(": ")
    ours = getattr(errors, kind, None)
    if isinstance(ours, type) and issubclass(ours, errors.D3S2Error):
        return ours(text)
    return errors.WorkError(
        f"One of {num_processes} processes that {work} ended ({' '.join(message.split())[:300]}), so the others were "
        "ended too; if memory ran out, lower the batch or raise accumulate. The same call goes on."
    )


@contextmanager
def _launcher_silent() -> Iterator[None]:
    """Its log would print the stack traces of processes that fail; they are told in a sentence."""
    loggers, handler = [logging.getLogger(name) for name in LAUNCHER_LOGS], logging.NullHandler()
    propagated = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, before in zip(loggers, propagated, strict=True):
            logger.removeHandler(handler)
            logger.propagate = before


@contextmanager
def _signals_kept() -> Iterator[None]:
    """The launcher leaves its handlers behind; outside the main thread it sets none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in HANDLED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
