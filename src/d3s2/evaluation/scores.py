"""Scores of students: from the counts that each left to a row of its own, and from rows to spreads over seeds."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from d3s2.evaluation.student_records import StudentRecord
from d3s2.metrics import MIOU, Counts, Metric, score_of, shares_of
from d3s2.results import SetResult, Shares, Spread, StudentRow
from d3s2.results.controls import Comparison, compared_by_seed
from d3s2.set_names import bases_of

NOTHING_SCORED = "not a single pixel of the test split was scored"


def row_of(record: StudentRecord, tail_classes: tuple[int, ...], metrics: Mapping[str, Metric]) -> StudentRow:
    """What one student's counts say.

    Args:
        tail_classes: train ids of the rarest third.
        metrics: name -> metric, in the order of tables.
    """
    counts = Counts(record.matrix, record.boundary_counts, tail_classes)
    early = sorted((int(iterations), miou) for iterations, miou in record.early.items())
    return StudentRow(
        set_name=record.set_name,
        student=record.student,
        seed=record.seed,
        items=record.items,
        bytes=record.bytes,
        jpeg_bytes=record.jpeg_bytes,
        iterations=record.iterations,
        scores={name: score_of(name, metric, counts) for name, metric in metrics.items()},
        per_class={name: shares for metric in metrics.values() for name, shares in shares_of(metric, counts).items()},
        early_iterations=tuple(iterations for iterations, _ in early),
        early_miou=tuple(miou for _, miou in early),
        wall_s=record.wall_s,
        peak_memory_gib=record.peak_memory_gib,
        digest=record.digest,
    )


def result_of(rows: Sequence[StudentRow]) -> SetResult:
    """How well a set trains a student: the rows of all seeds, which are of one set and one student."""
    first = rows[0]
    per_seed = {name: tuple(row.scores[name] for row in rows) for name in first.scores}
    # Where a student was trained before early scores were asked for, the figure has none of that set.
    early = sorted(set.intersection(*(set(row.early_iterations) for row in rows)))
    return SetResult(
        name=first.set_name,
        items=first.items,
        bytes=first.bytes,
        jpeg_bytes=first.jpeg_bytes,
        student=first.student,
        seeds=tuple(row.seed for row in rows),
        iterations=first.iterations,
        scores={name: spread for name, shares in per_seed.items() if (spread := spread_of(shares)) is not None},
        per_seed=per_seed,
        per_class={name: _mean_per_class(row.per_class[name] for row in rows) for name in first.per_class},
        early_iterations=tuple(early),
        early_miou=tuple(Spread.of(_early_mious(rows, iterations)) for iterations in early),
        wall_s=round(sum(row.wall_s for row in rows), 1),
        peak_memory_gib=max(row.peak_memory_gib for row in rows),
        failure=None if any(row.scores[MIOU] is not None for row in rows) else NOTHING_SCORED,
    )


def results_of(rows: Sequence[StudentRow]) -> tuple[tuple[SetResult, ...], tuple[Comparison, ...]]:
    """A result a student and set, in the order of the first row of each; and how sets compare."""
    keys = dict.fromkeys((row.student, row.set_name) for row in rows)
    results = (result_of([row for row in rows if (row.student, row.set_name) == key]) for key in keys)
    return tuple(results), comparisons_of(rows)


def comparisons_of(rows: Sequence[StudentRow]) -> tuple[Comparison, ...]:
    """Each set against the real subsets of its size with the same kind of labels, and soft labels against hard ones."""
    scores: dict[str, dict[str, dict[int, float | None]]] = {}
    for row in rows:
        scores.setdefault(row.student, {}).setdefault(row.set_name, {})[row.seed] = row.scores[MIOU]
    found = []
    for student, sets in scores.items():
        for ours, base in ((name, base) for name in sets for base in bases_of(name, sets)):
            one = compared_by_seed(ours, base, student, sets[ours], sets[base])
            found += [] if one is None else [one]
    return tuple(found)


def spread_of(shares: Iterable[float | None]) -> Spread | None:
    """Mean and deviation over the seeds that have a score; None where none has."""
    known = [share for share in shares if share is not None]
    return Spread.of(known) if known else None


def _mean_per_class(rows: Iterable[Shares]) -> Shares:
    """A class that no mask of the test split holds is None for every seed, whatever some of them predict."""
    known = ([share for share in shares if share is not None] for shares in zip(*rows, strict=True))
    return tuple(float(np.mean(shares)) if shares else None for shares in known)


def _early_mious(rows: Sequence[StudentRow], iterations: int) -> list[float]:
    return [row.early_miou[row.early_iterations.index(iterations)] for row in rows]
