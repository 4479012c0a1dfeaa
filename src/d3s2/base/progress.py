"""How long work tells of itself. The library is silent; the command line hands in a real one."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


@runtime_checkable
class Task(Protocol):
    """One bar."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Moves the bar by `steps`; `note` stands behind it (for example the loss)."""


@runtime_checkable
class Progress(Protocol):
    """Where stages say what they do."""

    def task(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        """Opens a bar of `total` steps, of which `done` were there before."""

    def say(self, text: str) -> None:
        """Prints one line."""


class _SilentTask:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class Silent:
    """The default: no output."""

    def task(self, label: str, total: int, done: int = 0) -> AbstractContextManager[Task]:
        return nullcontext(_SilentTask())

    def say(self, text: str) -> None:
        pass


SILENT = Silent()


def track(progress: Progress, label: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yields `items` under a bar."""
    with progress.task(label, total) as task:
        for item in items:
            yield item
            task.advance()
