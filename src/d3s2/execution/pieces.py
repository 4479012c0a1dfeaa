"""The contract of execution: work in independent pieces, each with a stable id, and what runs them.

A piece depends on the plan alone, never on who runs it or on what was done before, so every executor gives the same
bytes. What a piece makes lies in the shared folder when it ends, or is handed back as its result.
"""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from d3s2.base.machine.runtime import peak_memory_gib

Content = TypeVar("Content")
Result = TypeVar("Result")
Task = Callable[[Content], Result]


@dataclass(frozen=True)
class Piece(Generic[Content]):
    """One piece of work.

    Args:
        id: the same in every call; a file name.
        content: what the task is called with; travels to another process.
    """

    id: str
    content: Content


@dataclass(frozen=True)
class Needs:
    """What a worker needs.

    Args:
        num_gpus: 0 works on cores.
        memory_gib: of the machine; None asks for none.
    """

    num_gpus: int = 0
    memory_gib: float | None = None


@dataclass(frozen=True)
class Work(Generic[Content, Result]):
    """What is done with each piece.

    Args:
        step: its name in the log.
        begin: makes the task from `setup`, once a worker (it loads the models); of a module, not a closure.
        setup: travels to another process.
        needs: of one worker.
        advice: what to do when a worker was ended from outside, for the sentence.
        here: the task in this process, where its models are loaded already; None calls `begin` here too.
        is_done: whether the results of a piece lie in the shared folder; None where they are handed back alone, so
            that several processes cannot share the work.
    """

    step: str
    begin: Callable[[Any], Task[Content, Result]]
    setup: Any = None
    needs: Needs = Needs()
    advice: str = "use fewer workers"
    here: Task[Content, Result] | None = None
    is_done: Callable[[Content], bool] | None = None

    def elsewhere(self) -> "Work[Content, Result]":
        """What a worker needs of it."""
        return replace(self, here=None, is_done=None)

    def task_here(self) -> Task[Content, Result]:
        """The task in this process."""
        return self.begin(self.setup) if self.here is None else self.here


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came of one piece.

    Args:
        piece: its id.
        result: what the task returned; None where another process did the piece.
        wall_s: of the task alone.
        memory_gib: the most that its worker ever held.
        worker: host and process.
    """

    piece: str
    result: Result | None
    wall_s: float = 0.0
    memory_gib: float = 0.0
    worker: str = ""


@runtime_checkable
class Executor(Protocol):
    """Runs pieces somewhere."""

    @property
    def in_this_process(self) -> bool:
        """Whether pieces are done here, with the models of this process."""

    @property
    def shares(self) -> bool:
        """Whether other processes do some of the same pieces: then all are handed in, done or not."""

    def run(self, work: Work[Content, Result], pieces: Sequence[Piece[Content]]) -> Iterator[Outcome[Result]]:
        """Yields the outcome of each piece as it is finished, in any order.

        Raises:
            D3S2Error: that a piece raised; pieces that have not begun never do.
            WorkError: a worker was ended from outside.
        """


def worker_name() -> str:
    """Host and process id."""
    return f"{platform.node()}:{os.getpid()}"


def do(task: Task[Content, Result], piece: Piece[Content]) -> Outcome[Result]:
    """Does one piece, with what it took."""
    start = time.perf_counter()
    result = task(piece.content)
    wall_s = time.perf_counter() - start
    return Outcome(piece.id, result, round(wall_s, 3), round(peak_memory_gib(), 2), worker_name())


def do_all(task: Task[Content, Result], pieces: Sequence[Piece[Content]]) -> Iterator[Outcome[Result]]:
    """Does one piece after another in this process."""
    return (do(task, piece) for piece in pieces)
