"""What an evaluation leaves behind: results.json, read and written strictly.

A score is a share, 0..1; tables and figures print per cent. A deviation is that of a sample (n - 1), None for one
seed.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, read_object, record_from
from d3s2.metrics.table import MIOU
from d3s2.report.controls import Comparison, RealChoice
from d3s2.report.older_results import FORMAT_VERSION, in_todays_form
from d3s2.report.set_names import base_for, order_of

IOU = "iou"
"""What figures and tables of classes show; other shares of classes have tables of their own."""

AGAIN = "run `d3s2 evaluate` again"
Shares = tuple[float | None, ...]


@dataclass(frozen=True)
class Spread:
    """Mean and deviation over seeds."""

    __pydantic_config__ = RECORD

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class MetricTitle:
    """A metric that was computed, and what tables call it."""

    __pydantic_config__ = RECORD

    name: str
    title: str


@dataclass(frozen=True)
class SetResult:
    """How well one set trains one student.

    Args:
        name: a key of SETS, or any other name.
        items: pairs in the set.
        bytes: their size on disk, images and masks as PNG, soft labels with them.
        jpeg_bytes: the same with images as JPEG of quality 90; None in results of earlier versions.
        student: architecture.
        seeds: one training each.
        iterations: optimiser steps of each training.
        scores: by metric, mean and deviation over seeds; a metric that no seed has is not there.
        per_seed: by metric, in the order of `seeds`.
        per_class: name -> mean over seeds by train id; None for a class that the validation set does not hold.
        early_iterations: after which students were scored on their way; those that every seed has.
        early_miou: at these.
        wall_s: all trainings and their evaluation.
        peak_memory_gib: the most memory that was held.
        failure: why there are no numbers; a failed row stays in the tables.
    """

    __pydantic_config__ = RECORD

    name: str
    items: int
    bytes: int
    student: str
    seeds: tuple[int, ...]
    iterations: int
    scores: dict[str, Spread] = field(default_factory=dict)
    per_seed: dict[str, Shares] = field(default_factory=dict)
    per_class: dict[str, Shares] = field(default_factory=dict)
    early_iterations: tuple[int, ...] = ()
    early_miou: tuple[Spread, ...] = ()
    wall_s: float | None = None
    peak_memory_gib: float | None = None
    failure: str | None = None
    jpeg_bytes: int | None = None

    def mean(self, metric: str) -> float | None:
        """The mean of a score over seeds, or None where there is none."""
        spread = self.scores.get(metric)
        return None if spread is None else spread.mean

    def std(self, metric: str) -> float | None:
        """The deviation of a score over seeds, or None where there is none."""
        spread = self.scores.get(metric)
        return None if spread is None else spread.std

    def known_per_seed(self, metric: str) -> tuple[float, ...]:
        """The score of each seed that has one."""
        return tuple(share for share in self.per_seed.get(metric, ()) if share is not None)

    @property
    def iou_per_class(self) -> Shares:
        """IoU by train id; empty where it was not taken."""
        return self.per_class.get(IOU, ())


@dataclass(frozen=True)
class Results:
    """The table of an evaluation.

    Args:
        sets: a row a set and student.
        metrics: that were computed, in the order of tables.
        class_names: by train id.
        tail_classes: train ids of the rarest third.
        times_scored: the most records of one student (set, architecture, seed) on `dataset` in the run's folder: 1 says
            that no setting was changed there after a score on it was seen. None in results of earlier versions.
        draws: distilled sets that the seeds took turns in; with 1 their deviation is that of students alone.
        scored_at: 'working', or 'native' where predictions were brought to the size of each real mask.
        best_real: how the best real subset was chosen, for each kind of labels that was asked for.
        comparisons: of sets with real subsets of their size, and of soft labels with hard ones.
        dataset: what every student was scored on, for example 'camvid/val'.
        hardware: of the machine, see base.machine.runtime.hardware.
        date: ISO 8601, UTC.
        commit: of the code; None for an installed package.
        command: what was called.
        versions: of Python and packages.
        format_version: of the file.
    """

    __pydantic_config__ = RECORD

    sets: tuple[SetResult, ...]
    metrics: tuple[MetricTitle, ...]
    class_names: tuple[str, ...]
    tail_classes: tuple[int, ...]
    dataset: str
    hardware: dict[str, Any]
    date: str
    commit: str | None
    command: str
    versions: dict[str, str]
    format_version: int = FORMAT_VERSION
    times_scored: int | None = None
    draws: int = 1
    scored_at: Literal["working", "native"] = "working"
    best_real: tuple[RealChoice, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @property
    def students(self) -> tuple[str, ...]:
        """Architectures, in order of appearance."""
        return tuple(dict.fromkeys(row.student for row in self.sets))

    @property
    def of_classes(self) -> tuple[str, ...]:
        """What rows hold of each class, IoU first."""
        return tuple(
            sorted({name for row in self.sets for name in row.per_class}, key=lambda name: (name != IOU, name))
        )

    def of(self, student: str) -> tuple[SetResult, ...]:
        """The rows of one student, in the order of SETS; other sets stand before that of all real data."""
        rows = [row for row in self.sets if row.student == student]
        return tuple(sorted(rows, key=lambda row: order_of(row.name)))

    def row(self, name: str, student: str) -> SetResult | None:
        """One row, or None where that set was not evaluated."""
        return next((row for row in self.sets if (row.name, row.student) == (name, student)), None)

    def ratio(self, name: str, base: str, student: str) -> float | None:
        """mIoU of set `name` over that of set `base`; None where one of them has none."""
        return ratio_of(self.row(name, student), self.row(base, student))

    def ratio_like(self, name: str, base: str, student: str) -> float | None:
        """The same against `base` with the kind of labels that `name` has, where that was evaluated."""
        like = base_for(name, base, [row.name for row in self.of(student)])
        return None if like is None else self.ratio(name, like, student)

    def comparison(self, ours: str, base: str, student: str) -> Comparison | None:
        """The paired difference of two sets, or None where it was not taken."""
        key = ours, base, student
        return next((one for one in self.comparisons if (one.ours, one.base, one.student) == key), None)


def ratio_of(ours: SetResult | None, theirs: SetResult | None) -> float | None:
    """mIoU of one row over that of another; None where one of them has none, or the other's is 0."""
    if ours is None or theirs is None:
        return None
    above, below = ours.mean(MIOU), theirs.mean(MIOU)
    return above / below if above is not None and below else None


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample deviation (n - 1) over seeds; the deviation of one value is None."""
    if not values:
        raise UsageError("A mean over seeds needs at least one value; give at least one seed.")
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def write_results(path: Path, results: Results) -> None:
    """Writes results.json; raises UsageError where the rows contradict one another."""
    problem = _problem(results)
    if problem:
        raise UsageError(f"{path}: {problem}")
    write_json(path, asdict(results))


def read_results(path: Path) -> Results:
    """Reads results.json of this format or an older one.

    Raises:
        StoreError: a key is missing, unknown or wrong, or the file is of a later format.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 evaluate` makes it.")
    content = in_todays_form(read_object(path, AGAIN))
    if content["format_version"] != FORMAT_VERSION:
        raise StoreError(
            f"{path}: is of format version {content['format_version']}, this d3s2 reads versions 1 to "
            f"{FORMAT_VERSION}; {AGAIN}, or use the d3s2 that wrote it."
        )
    results: Results = record_from(content, Results, str(path), AGAIN)
    problem = _problem(results)
    if problem:
        raise StoreError(f"{path}: {problem}")
    return results


def _problem(results: Results) -> str | None:
    """What contradicts what, in a sentence."""
    named = [metric.name for metric in results.metrics]
    for row in results.sets:
        problem = _row_problem(row, named, len(results.class_names))
        if problem:
            return f"set '{row.name}' with student '{row.student}' {problem}"
    rows = [(row.name, row.student) for row in results.sets]
    twice = [row for row in rows if rows.count(row) > 1]
    if twice:
        return f"set '{twice[0][0]}' with student '{twice[0][1]}' is there twice, expected one row each."
    if any(not 0 <= index < len(results.class_names) for index in results.tail_classes):
        return f"a tail class is outside 0..{len(results.class_names) - 1}."
    return None


def _row_problem(row: SetResult, metrics: Sequence[str], num_classes: int) -> str | None:
    """What in one row cannot be, in a part of a sentence."""
    spreads = (*row.scores.values(), *row.early_miou)
    shares = (*(spread.mean for spread in spreads), *_all_of(row.per_seed), *_all_of(row.per_class))
    outside = [share for share in shares if share is not None and not 0 <= share <= 1]
    if outside:
        return f"holds {outside[0]}, expected every score as a share, 0 to 1."
    sizes = (row.items, row.bytes, row.jpeg_bytes, row.iterations, row.wall_s, row.peak_memory_gib, *row.seeds)
    amounts = (*(spread.std for spread in spreads), *sizes, *row.early_iterations)
    below = [amount for amount in amounts if amount is not None and amount < 0]
    if below:
        return f"holds {below[0]}, expected no size, time, seed or deviation below 0."
    unnamed = [name for name in (*row.scores, *row.per_seed) if name not in metrics]
    if unnamed:
        return f"has a score '{unnamed[0]}' that is not among the metrics ({', '.join(metrics)})."
    if row.failure is None and MIOU not in row.scores:
        return "has neither a mIoU nor a failure; give one of them."
    for values in (row.per_seed.get(name, ()) for name in {MIOU, *row.per_seed} if row.failure is None):
        if len(values) != len(row.seeds):
            return f"has {len(values)} values for {len(row.seeds)} seeds, expected one each."
    if len(row.early_iterations) != len(row.early_miou):
        return "has early scores for other iterations than it names, expected one mean each."
    for name, values in row.per_class.items():
        if len(values) != num_classes:
            return f"has {len(values)} {'IoUs' if name == IOU else name} for {num_classes} classes."
    return None


def _all_of(values: Mapping[str, Shares]) -> Iterator[float | None]:
    return (share for shares in values.values() for share in shares)
