"""Pieces of work side by side on this machine: a process of its own for each worker, each with its devices."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from multiprocessing import Queue, get_context
from typing import Any

import torch

from d3s2.base.errors import UsageError, WorkError
from d3s2.base.machine.cores import num_cores
from d3s2.base.machine.workers import ending, spawned_pool
from d3s2.execution.pieces import Content, Outcome, Piece, Result, Task, Work, do, do_all

Devices = tuple[str, ...]
"""Where one piece of work runs, by one process each."""

CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
AHEAD = 3  # pieces a worker that are handed out


def places_for(device: torch.device, devices_each: int) -> list[Devices]:
    """Where pieces of work may run, on so many devices each: on every GPU where one was asked for without saying which.

    Raises:
        UsageError: there are not so many devices.
    """
    if device.type == "cpu":
        return [(str(device),) * devices_each]
    devices = [str(device)]
    if str(device) == "cuda":
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if devices_each > len(devices):
        raise UsageError(
            f"evaluate.devices_per_student is {devices_each}, and --device {device} means {len(devices)} here; lower "
            "it, or give --device cuda for every GPU there is."
        )
    starts = range(0, len(devices) - devices_each + 1, devices_each)
    return [tuple(devices[start : start + devices_each]) for start in starts]


def num_workers(asked: int, places: Sequence[Devices]) -> int:
    """How many pieces run side by side: as many as asked for, or what suits the places where that is 0.

    Pieces that run on several GPUs each do not share one.
    """
    if places[0][0] == "cpu":
        return asked or max(1, num_cores() // len(places[0]))
    if not asked:
        return len(places)
    return asked if len(places[0]) == 1 else min(asked, len(places))


def workers_for(asked: int, device: torch.device, devices_each: int) -> int:
    """How many pieces run side by side, on so many devices each; raises UsageError where there are fewer."""
    return num_workers(asked, places_for(device, devices_each))


@dataclass(frozen=True)
class Local:
    """This process where one worker suffices; else new processes, which gain more from one core each than from sharing.

    Args:
        places: where pieces run; workers take turns in choosing one.
        workers: side by side.
    """

    places: Sequence[Devices]
    workers: int

    @property
    def in_this_process(self) -> bool:
        return self.workers <= 1

    @property
    def shares(self) -> bool:
        return False

    def run(self, work: Work[Content, Result], pieces: Sequence[Piece[Content]]) -> Iterator[Outcome[Result]]:
        if self.in_this_process or len(pieces) <= 1:
            yield from do_all(work.task_here(), pieces) if pieces else ()
            return
        workers = min(self.workers, len(pieces))
        free = get_context("spawn").Queue()
        for number in range(workers):
            free.put(self.places[number % len(self.places)])
        try:
            with spawned_pool(workers, _begin_worker, free, work.elsewhere(), max(1, num_cores() // workers)) as pool:
                yield from _in_pool(pool, pieces, ahead=AHEAD * workers)
        except BrokenProcessPool:
            raise WorkError(
                f"A worker process was ended from outside, most often for want of memory: {work.advice} and run the "
                "same call again, it resumes. (A script of your own has its calls below "
                "`if __name__ == '__main__':`, as each worker imports it.)"
            ) from None


def _in_pool(pool: ProcessPoolExecutor, pieces: Sequence[Piece[Any]], ahead: int) -> Iterator[Outcome[Any]]:
    """A few pieces wait for a worker, never all: there may be millions."""
    coming, working = iter(pieces), set[Future[Outcome[Any]]]()
    while True:
        working |= {pool.submit(ending, _do, piece) for piece in islice(coming, ahead - len(working))}
        if not working:
            return
        finished, working = wait(working, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()


_work: Work[Any, Any]
_task: Task[Any, Any] | None = None


def _do(piece: Piece[Any]) -> Outcome[Any]:
    global _task
    if _task is None:  # not at the start of the worker: the pool prints what is raised there
        _task = _work.begin(_work.setup)
    return do(_task, piece)


def _begin_worker(free: "Queue[Devices]", work: Work[Any, Any], threads: int) -> None:
    global _work
    _work = work
    torch.set_num_threads(threads)
    place = [torch.device(name) for name in free.get()]
    if place[0].type != "cuda":
        return
    if len(place) == 1:
        torch.cuda.set_device(place[0])  # what a piece calls 'cuda' is then this one
    else:  # the processes that this one starts see these only
        seen = os.environ.get(CUDA_VISIBLE)
        names = seen.split(",") if seen else [str(index) for index in range(torch.cuda.device_count())]
        os.environ[CUDA_VISIBLE] = ",".join(names[device.index] for device in place)
