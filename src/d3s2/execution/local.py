"""Pieces of work side by side on this machine: a process of its own for each worker, each with its devices."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import Queue, get_context
from typing import TypeVar

import torch

from d3s2.base.errors import UsageError, WorkError
from d3s2.base.machine.cores import num_cores
from d3s2.base.machine.workers import ending, spawned_pool

Devices = tuple[str, ...]
"""Where one piece of work runs, by one process each."""

CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
Piece = TypeVar("Piece")
Result = TypeVar("Result")
Submit = Callable[[Sequence[Piece]], Iterator[Result]]


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


@contextmanager
def side_by_side(
    work: Callable[[Piece], Result], workers: int, places: Sequence[Devices], advice: str
) -> Iterator[Submit[Piece, Result]]:
    """Yields a function that runs pieces of work and gives their results as they are finished.

    One worker is this process; several are new ones, which gain more from one core each than from sharing them.

    Args:
        work: of a module, not a closure: it travels by name, as do pieces and results.
        places: where pieces run; workers take turns in choosing one.
        advice: what to do when a worker was ended from outside, for the sentence.
    """
    if workers <= 1:
        yield lambda pieces: map(work, pieces)
        return
    free = get_context("spawn").Queue()
    for number in range(workers):
        free.put(places[number % len(places)])
    with spawned_pool(workers, _begin_worker, free) as pool:

        def submit(pieces: Sequence[Piece]) -> Iterator[Result]:
            try:
                for future in as_completed([pool.submit(ending, work, piece) for piece in pieces]):
                    yield future.result()
            except BrokenProcessPool:
                raise WorkError(
                    f"A worker process was ended from outside, most often for want of memory: {advice} and run the "
                    "same call again, it resumes."
                ) from None

        yield submit


def _begin_worker(free: "Queue[Devices]") -> None:
    place = [torch.device(name) for name in free.get()]
    if place[0].type != "cuda":
        return
    if len(place) == 1:
        torch.cuda.set_device(place[0])  # what a piece calls 'cuda' is then this one
    else:  # the processes that this one starts see these only
        seen = os.environ.get(CUDA_VISIBLE)
        names = seen.split(",") if seen else [str(index) for index in range(torch.cuda.device_count())]
        os.environ[CUDA_VISIBLE] = ",".join(names[device.index] for device in place)
