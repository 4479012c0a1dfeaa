"""Progress for people: bars with time left on a terminal, plain lines elsewhere. Always on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from d3s2.base.progress import Progress, Task

LINE_EVERY_S = 20.0


class _Bar:
    def __init__(self, bars: RichProgress, task_id: TaskID) -> None:
        self.bars, self.task_id = bars, task_id

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.bars.update(self.task_id, advance=steps, note=note)


class TerminalProgress:
    """Bars on a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        columns = (
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with RichProgress(*columns, console=self.console) as bars:
            yield _Bar(bars, bars.add_task(label, total=total, completed=done, note=""))

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


class _Lines:
    def __init__(self, label: str, total: int, done: int) -> None:
        self.label, self.total, self.done, self.first = label, total, done, done
        self.began = self.said_at = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if self.done < self.total and now - self.said_at < LINE_EVERY_S:
            return
        self.said_at = now
        spent = now - self.began
        left = spent / max(self.done - self.first, 1) * (self.total - self.done)
        behind = f", {note}" if note else ""
        print(f"{self.label}: {self.done}/{self.total}, {spent:.0f} s, {left:.0f} s left{behind}", file=sys.stderr)  # noqa: T201


class LineProgress:
    """A plain line now and then, for log files."""

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        yield _Lines(label, total, done)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)  # noqa: T201


def progress_for_people() -> Progress:
    """Bars where standard error is a terminal, lines where it is not."""
    return TerminalProgress(Console(stderr=True)) if sys.stderr.isatty() else LineProgress()
