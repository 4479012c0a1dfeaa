"""What an evaluation leaves behind: results.json, read and written strictly.

A mIoU is a share, 0..1; tables and figures print per cent. A deviation is that of a sample (n - 1), None for one
seed.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.files import write_json
from d3s2.base.records import RECORD, read_record

SETS = {
    "random": "random real",
    "balanced": "balanced real",
    "distilled-unguided": "distilled, unguided",
    "distilled": "distilled",
    "all": "all real",
}
"""Names of sets in the order of tables, and what readers are shown."""


JOINT, AT, SOFT_END = "+", "@", "-soft"


def set_title(name: str) -> str:
    """What readers are shown for the name of a set, for example 'balanced real + distilled, soft labels'."""
    titles = []
    for part in name.split(JOINT):
        chosen, at, made = part.partition(AT)
        if at and "/" not in chosen:
            titles.append(f"{_part_title(chosen)} at the bytes of {_part_title(made)}")
        else:
            titles.append(_part_title(part))
    return f" {JOINT} ".join(titles)


def _part_title(part: str) -> str:
    plain = part.removesuffix(SOFT_END)
    return SETS.get(plain, plain) + (", soft labels" if plain != part else "")


@dataclass(frozen=True)
class SetResult:
    """How well one set trains one student.

    Args:
        name: a key of SETS, or any other name.
        items: pairs in the set.
        bytes: their size on disk.
        student: architecture.
        seeds: one training each.
        iterations: optimiser steps of each training.
        miou_mean, miou_std: dataset-level mIoU on the validation set, mean and deviation over seeds.
        tail_miou_mean, tail_miou_std: the same over the rarest third of the classes.
        miou_per_seed: in the order of `seeds`.
        iou_per_class: mean over seeds, by train id; None for a class that the validation set does not hold.
        early_iterations: after which students were scored on their way; those that every seed has.
        early_miou_mean, early_miou_std: at these, mean and deviation over seeds.
        boundary_iou_mean, boundary_iou_std: mean IoU of the pixels near contours.
        fw_iou_mean, fw_iou_std: IoU weighted by the classes' shares of the true pixels.
        pixel_accuracy_mean, pixel_accuracy_std: share of the pixels that were predicted right.
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
    miou_mean: float | None = None
    miou_std: float | None = None
    tail_miou_mean: float | None = None
    tail_miou_std: float | None = None
    miou_per_seed: tuple[float, ...] = ()
    iou_per_class: tuple[float | None, ...] = ()
    early_iterations: tuple[int, ...] = ()
    early_miou_mean: tuple[float, ...] = ()
    early_miou_std: tuple[float | None, ...] = ()
    boundary_iou_mean: float | None = None
    boundary_iou_std: float | None = None
    fw_iou_mean: float | None = None
    fw_iou_std: float | None = None
    pixel_accuracy_mean: float | None = None
    pixel_accuracy_std: float | None = None
    wall_s: float | None = None
    peak_memory_gib: float | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Results:
    """The table of an evaluation.

    Args:
        sets: a row a set and student.
        class_names: by train id.
        tail_classes: train ids of the rarest third.
        dataset: what every student was scored on, for example 'camvid/val'.
        hardware: of the machine, see base.runtime.hardware.
        date: ISO 8601, UTC.
        commit: of the code; None for an installed package.
        command: what was called.
        versions: of Python and packages.
    """

    __pydantic_config__ = RECORD

    sets: tuple[SetResult, ...]
    class_names: tuple[str, ...]
    tail_classes: tuple[int, ...]
    dataset: str
    hardware: dict[str, Any]
    date: str
    commit: str | None
    command: str
    versions: dict[str, str]

    @property
    def students(self) -> tuple[str, ...]:
        """Architectures, in order of appearance."""
        return tuple(dict.fromkeys(row.student for row in self.sets))

    def of(self, student: str) -> tuple[SetResult, ...]:
        """The rows of one student, in the order of SETS; other sets stand before that of all real data."""
        rank = {name: index for index, name in enumerate(SETS)}
        rows = [row for row in self.sets if row.student == student]
        return tuple(sorted(rows, key=lambda row: rank.get(row.name, rank["all"] - 0.5)))

    def row(self, name: str, student: str) -> SetResult | None:
        """One row, or None where that set was not evaluated."""
        return next((row for row in self.sets if (row.name, row.student) == (name, student)), None)

    def ratio(self, name: str, base: str, student: str) -> float | None:
        """mIoU of set `name` over that of set `base`; None where one of them has none."""
        ours, theirs = self.row(name, student), self.row(base, student)
        if ours is None or theirs is None or ours.miou_mean is None or not theirs.miou_mean:
            return None
        return ours.miou_mean / theirs.miou_mean


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
    """Reads results.json; raises StoreError naming the key that is missing, unknown or wrong."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file; `d3s2 evaluate` makes it.")
    results = read_record(path, Results, "run `d3s2 evaluate` again")
    problem = _problem(results)
    if problem:
        raise StoreError(f"{path}: {problem}")
    return results


def _problem(results: Results) -> str | None:
    """What contradicts what, in a sentence."""
    for row in results.sets:
        where = f"set '{row.name}' with student '{row.student}'"
        means = (row.miou_mean, row.tail_miou_mean, row.boundary_iou_mean, row.fw_iou_mean, row.pixel_accuracy_mean)
        shares = (*means, *row.miou_per_seed, *row.iou_per_class, *row.early_miou_mean)
        outside = [share for share in shares if share is not None and not 0 <= share <= 1]
        if outside:
            return f"{where} holds {outside[0]}, expected every score as a share, 0 to 1."
        deviations = (row.miou_std, row.tail_miou_std, row.boundary_iou_std, row.fw_iou_std, row.pixel_accuracy_std)
        sizes = (row.items, row.bytes, row.iterations, row.wall_s, row.peak_memory_gib, *row.seeds)
        amounts = (*deviations, *row.early_miou_std, *sizes, *row.early_iterations)
        below = [amount for amount in amounts if amount is not None and amount < 0]
        if below:
            return f"{where} holds {below[0]}, expected no size, time, seed or deviation below 0."
        if row.failure is None and row.miou_mean is None:
            return f"{where} has neither a mIoU nor a failure; give one of them."
        if row.failure is None and len(row.miou_per_seed) != len(row.seeds):
            return f"{where} has {len(row.miou_per_seed)} values for {len(row.seeds)} seeds, expected one each."
        if not len(row.early_iterations) == len(row.early_miou_mean) == len(row.early_miou_std):
            return f"{where} has early scores for other iterations than it names, expected one mean each."
        if row.iou_per_class and len(row.iou_per_class) != len(results.class_names):
            return f"{where} has {len(row.iou_per_class)} IoUs for {len(results.class_names)} classes."
    rows = [(row.name, row.student) for row in results.sets]
    twice = [row for row in rows if rows.count(row) > 1]
    if twice:
        return f"set '{twice[0][0]}' with student '{twice[0][1]}' is there twice, expected one row each."
    if any(not 0 <= index < len(results.class_names) for index in results.tail_classes):
        return f"a tail class is outside 0..{len(results.class_names) - 1}."
    return None
