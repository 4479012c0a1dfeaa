"""A function in several processes that work as one; torch's elastic launcher starts and watches them.

In them torch.distributed, and accelerate on top of it, find each other by the environment, as under `torchrun`.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import active_children
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, TypeVar
from uuid import uuid4

import torch
from accelerate import PartialState
from torch import distributed
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.rendezvous import rendezvous

from d3s2.base import errors
from d3s2.base.errors import WorkError
from d3s2.base.machine.runtime import num_launched
from d3s2.base.machine.workers import end_with_parent, signals_held

LAUNCHER_LOGS = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
PARTNERS_WAIT = timedelta(minutes=10)
LONGEST_WAIT = timedelta(days=7)  # of other processes, while the first one fits the teacher or draws a preview
T = TypeVar("T")


def run_together(function: Callable[..., T], *args: object, num_processes: int, work: str) -> T:
    """Calls `function(*args)` in each of several new processes and returns what it returned in the first.

    As soon as one process fails all are ended; none outlives this one, however it ends, and an exception that a signal
    raises here ends them too. What they print is dropped, except with D3S2_DEBUG in the environment.

    Args:
        function: of a module, not a closure: it travels by name.
        work: what the processes do, for a sentence; begins with a verb in the past ("trained ...").

    Raises:
        D3S2Error: that a process raised.
        WorkError: a process raised something else, or was ended from outside.
    """
    returned: Future[T] = Future()
    others = set(active_children())
    # In a thread, because in the main one the launcher would put handlers of its own on signals.
    launcher = Thread(target=_launch, args=(returned, function, args, num_processes), name="launch", daemon=True)
    with _launcher_silent():
        try:
            with signals_held(signal.SIGINT, signal.SIGTERM):
                launcher.start()
            wait([returned])  # a join that is interrupted takes the thread for ended (Python 3.11)
        except BaseException:
            while launcher.ident and not returned.done():  # it may just be starting them
                for process in set(active_children()) - others:
                    process.terminate()
                wait([returned], timeout=0.1)
            raise
    try:
        return returned.result()
    except ChildFailedError as error:
        raise _as_ours(error.get_first_failure()[1], num_processes, work) from None


def _launch(returned: "Future[T]", function: Callable[..., T], args: Sequence[object], num_processes: int) -> None:
    """Fills `returned` with what the main process returned, or with an exception."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # which ends the processes that are started here
    try:
        with TemporaryDirectory(prefix="d3s2-") as logs:  # Ctrl-C is blocked in this thread, and so in them
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=num_processes,
                run_id=uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",  # a free port, so that several groups may work side by side
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(
                    log_dir=logs, redirects=Std.NONE if "D3S2_DEBUG" in os.environ else Std.ALL
                ),
            )
            results: dict[int, T] = elastic_launch(config, _begin)(function, *args)
    except BaseException as error:
        returned.set_exception(error)
    else:
        returned.set_result(results[0])


@contextmanager
def meeting(device: torch.device, wait: timedelta = PARTNERS_WAIT) -> Iterator[None]:
    """Within the block this process is one of the group that torchrun or accelerate launched; else nothing happens.

    Args:
        device: this process's own.
        wait: for the other processes, at the start. Later they may wait for days, while one fits a teacher.

    Raises:
        UsageError: the environment says that a group was launched, but not which.
        WorkError: not all of its processes came.
    """
    count = num_launched()
    if count == 1:
        yield
        return
    rank = int(os.environ["RANK"])
    store = _meet(count, rank, wait)
    on_cpu = device.type == "cpu"
    distributed.init_process_group(
        "gloo" if on_cpu else "nccl", store=store, rank=rank, world_size=count, timeout=LONGEST_WAIT
    )
    PartialState(cpu=on_cpu)
    try:
        yield
    finally:
        PartialState._reset_state()
        distributed.destroy_process_group()


def _meet(count: int, rank: int, wait: timedelta) -> Any:
    try:
        store, _, _ = next(rendezvous("env://", timeout=wait))
        store.set(f"d3s2-{rank}", "here")
        store.wait([f"d3s2-{number}" for number in range(count)], wait)
    except (RuntimeError, ValueError, OSError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise WorkError(
            f"Process {rank} of {count} (RANK, WORLD_SIZE) waited {wait.total_seconds():.0f} s at {where}, and not all "
            f"of the others came ({' '.join(str(error).split())[:200]}); start all of them with torchrun or accelerate "
            "launch, or none: then unset RANK and WORLD_SIZE."
        ) from None
    return store


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
        "ended too; if memory ran out, lower the batch or raise accumulate. The same call resumes."
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
