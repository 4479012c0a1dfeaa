"""Pieces on a Ray cluster: actors that hold the models and get a piece whenever they are free.

Ray is imported when it is asked for. Ray Data is not used: it streams rows, and hides which of them failed.
"""

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from d3s2.base.errors import D3S2Error, UsageError, WorkError
from d3s2.base.machine.cores import num_cores
from d3s2.execution.pieces import Content, Outcome, Piece, Result, Task, Work, do

MOST_TRIES = 3  # of a piece, or of a worker's start
SHORT_S = 1.0  # a piece that takes less has another wait beside it: to hand one out takes milliseconds
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_LOG_TO_STDERR": "0"}


@contextmanager
def ray_cluster(address: str | None) -> Iterator[None]:
    """Joins the cluster at `address`, or starts one on this machine, for the time of the block."""
    if find_spec("ray") is None:
        raise UsageError("--executor ray needs the package ray, which is not installed: pip install 'd3s2[ray]'.")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    where = {"address": address} if address else {"address": "local", "num_cpus": num_cores()}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            **where, log_to_driver=False, include_dashboard=False if not address else None, logging_level=logging.ERROR
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise WorkError(f"Ray: no cluster at '{address}' ({reason}); `ray start --head` starts one.") from None
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own there
    try:
        # Ray prints there that an actor ended, whatever it is asked for; we write to standard error alone meanwhile.
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        ray.shutdown()


class Holder:
    """An actor: holds what `begin` made."""

    def __init__(self, work: Work[Any, Any]) -> None:
        self._work = work
        self._task: Task[Any, Any] | None = None

    def ready(self) -> None:
        """Answers once the actor runs."""

    def do(self, piece: Piece[Any]) -> Outcome[Any] | D3S2Error:
        """An error of ours is handed back: Ray would wrap a trace around it."""
        try:
            self._task = self._task or self._work.begin(self._work.setup)
            return do(self._task, piece)
        except D3S2Error as error:
            return error


@dataclass(frozen=True)
class RayActors:
    """Actors of the cluster that this process has joined; `workers` 0 takes as many as it has room for."""

    workers: int

    @property
    def in_this_process(self) -> bool:
        return False

    @property
    def shares(self) -> bool:
        return False

    def run(self, work: Work[Content, Result], pieces: Sequence[Piece[Content]]) -> Iterator[Outcome[Result]]:
        import ray

        needs, room = work.needs, ray.cluster_resources()
        fits = int(room.get("GPU", 0) // needs.num_gpus if needs.num_gpus else room.get("CPU", 0))
        if not fits:
            raise WorkError(f"Ray: no node of the cluster has what step {work.step} needs ({needs}); add one that has.")
        memory = int((needs.memory_gib or 0) * 2**30)
        holder = ray.remote(num_gpus=needs.num_gpus, num_cpus=1, memory=memory)(Holder)
        crew = _Crew(ray, lambda: holder.remote(work.elsewhere()), pieces, work)
        try:
            yield from crew.outcomes(min(self.workers or fits, len(pieces)))
        finally:
            for actor in crew.actors:
                ray.kill(actor)


class _Crew:
    """Actors and the pieces that they have; a piece of an actor that ends goes to the next free one."""

    def __init__(self, ray: Any, start: Any, pieces: Sequence[Piece[Any]], work: Work[Any, Any]) -> None:
        self.ray, self.start, self.work, self.left = ray, start, work, len(pieces)
        self.coming, self.again, self.tries = iter(pieces), list[Piece[Any]](), dict[str, int]()
        self.actors, self.idle = list[Any](), list[Any]()
        self.working: dict[Any, tuple[Any, Piece[Any] | None]] = {}

    def outcomes(self, workers: int) -> Iterator[Outcome[Any]]:
        for _ in range(workers):
            self._add()
        while self.left:
            for answer in self.ray.wait(list(self.working))[0]:
                actor, piece = self.working.pop(answer)
                try:
                    found = self.ray.get(answer)
                except self.ray.exceptions.RayActorError as error:
                    self._replace(actor, piece, error)
                    continue
                if isinstance(found, D3S2Error):
                    raise found
                for _ in range(self._wanted(actor, found)):
                    self._give(actor)
                if found is not None:
                    self.left -= 1
                    yield found

    def _wanted(self, actor: Any, found: Outcome[Any] | None) -> int:
        having = sum(other == actor for other, _ in self.working.values())
        return max(0, (2 if found is not None and found.wall_s < SHORT_S else 1) - having)

    def _add(self) -> None:
        self.actors.append(self.start())
        self.working[self.actors[-1].ready.remote()] = self.actors[-1], None

    def _give(self, actor: Any) -> None:
        piece = self.again.pop() if self.again else next(self.coming, None)
        if piece is None:
            self.idle.append(actor)
        else:
            self.working[actor.do.remote(piece)] = actor, piece

    def _replace(self, actor: Any, piece: Piece[Any] | None, error: Exception) -> None:
        name = piece.id if piece else "start"
        self.tries[name] = self.tries.get(name, 0) + 1
        if self.tries[name] >= MOST_TRIES:
            reason = str(error).strip().splitlines()[-1].strip()
            raise WorkError(
                f"Ray actors ended again and again ({name} of step {self.work.step}: {reason}); if for want of memory, "
                f"{self.work.advice}, and run the same call again: it resumes."
            ) from None
        if actor in self.actors:  # the first of its answers that tells
            self.actors.remove(actor)
            self.idle = [one for one in self.idle if one != actor]
            self._add()
        if piece:
            self.again.append(piece)
            if self.idle:
                self._give(self.idle.pop())
