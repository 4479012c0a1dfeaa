"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from d3s2.base.formats.files import write_text
from d3s2.base.machine.runtime import commit, hardware, versions
from d3s2.evaluation.grid import student_jobs
from d3s2.evaluation.scores import comparisons_of, results_of, row_of
from d3s2.evaluation.set_names import asks_for_best_real, is_made_here
from d3s2.evaluation.sets import Sets
from d3s2.evaluation.student_records import times_scored
from d3s2.evaluation.students import train_students
from d3s2.execution.local import num_workers, places_for
from d3s2.metrics.formulas import rarest_classes
from d3s2.metrics.metric import metric_named
from d3s2.pipeline.controls.best_real import choose_best_real
from d3s2.pipeline.controls.draws import draw_folder, drawn, make_draws
from d3s2.pipeline.controls.features import teacher_features
from d3s2.pipeline.controls.soft_real import softener
from d3s2.pipeline.controls.validation import on_validation, require_own_split, scored_split
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.judge import JUDGE, judge
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import choose_masks
from d3s2.report.controls import RealChoice
from d3s2.report.records import MetricTitle, Results, write_results
from d3s2.report.student_rows import StudentRow, write_student_rows
from d3s2.report.tables import (
    comparisons_table,
    labels_table,
    metrics_table,
    results_csv,
    results_table,
    to_latex,
    to_markdown,
)
from d3s2.selection.settings import FEATURE_METHODS

RESULTS = "results.json"
ROWS = "records.parquet"


def evaluate(run: Run, command: str = "") -> Results:
    """Distils, trains students, and writes tables, records and judges.json; what is there already is left as it is.

    Raises:
        UsageError: a choice is asked for and the validation split is no split of its own.
    """
    chooses = any(map(asks_for_best_real, run.config.evaluate.sets))
    if chooses or run.config.evaluate.split == "val":
        require_own_split(run.config.data)
        held = on_validation(run)
        held.count_test_masks()
        run = held if run.config.evaluate.split == "val" else run
    run.count_test_masks()  # a bad one is named now, not after a night of sampling
    distill_run(run)
    results, rows = compare_sets(run, run.folder, command)
    folder = run.folder
    write_student_rows(folder / ROWS, rows, results.class_names)
    write_results(folder / RESULTS, results)
    _write_tables(folder, results)
    judge(run)
    return results


def compare_sets(run: Run, folder: Path, command: str = "") -> tuple[Results, list[StudentRow]]:
    """Trains and scores the students of a run.

    Args:
        folder: that keeps students; those that are in it are not trained again, whichever run asked for them.
    """
    config, census = run.config.evaluate, run.census
    choices: list[RealChoice] = []

    def best_real(sets: Sets, soft: bool) -> str:
        choices.append(choose_best_real(run, sets, folder, soft=soft))
        return choices[-1].chosen

    if any(map(is_made_here, config.sets)):
        make_draws(run)
    metrics = {name: metric_named(name) for name in config.metrics}  # one of the user's is imported before any training
    places = places_for(run.device, config.devices_per_student)
    test = scored_split(run)
    judge = run.models / JUDGE
    jobs = list(
        student_jobs(
            config, run.config.data, sets_of(run, best_real), test, folder=folder, judge=judge, device=run.device
        )
    )
    records = train_students(jobs, places, num_workers(config.workers, places), run.progress)
    tail = rarest_classes(census.images_per_class)
    rows = [row_of(record, tail, metrics) for record in records]
    results = Results(
        sets=results_of(rows),
        metrics=tuple(MetricTitle(name, metric.title) for name, metric in metrics.items()),
        class_names=census.class_names,
        tail_classes=tail,
        dataset=run.test_data.name,
        times_scored=times_scored(folder, test.digest),
        draws=config.draws,
        scored_at=config.scored_at,
        best_real=tuple(choices),
        comparisons=comparisons_of(rows),
        hardware=hardware(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        command=command,
        versions=versions(),
    )
    return results, rows


def sets_of(run: Run, best_real: Callable[[Sets, bool], str] | None = None) -> Sets:
    """What each name of a set stands for in a run.

    Args:
        best_real: which real subset is the best, with soft labels or without; None where that is not asked for.
    """

    @cache
    def features() -> Float32[np.ndarray, "n d"]:
        return teacher_features(run)

    def choose(method: str, num_masks: int | None, draw: int) -> tuple[str, ...]:
        by_features = method in FEATURE_METHODS and run.config.evaluate.real_features == "teacher"
        return choose_masks(drawn(run, draw), method, num_masks, features() if by_features else None).ids

    @cache
    def best(soft: bool) -> str:
        assert best_real is not None, "no choice of the best real subset"
        return best_real(sets, soft)

    sets = Sets(
        run.config.data,
        run.train_data,
        run.data_digest,
        choose=choose,
        own=partial(draw_folder, run),
        soften=softener(run),
        best_real=best,
        seed=run.config.seed,
        draws=run.config.evaluate.draws,
        progress=run.progress,
    )
    return sets


def _write_tables(folder: Path, results: Results) -> None:
    found = (results_table(results), labels_table(results), comparisons_table(results), metrics_table(results))
    tables = [table for table in found if table is not None]
    write_text(folder / "results.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "results.tex", "\n".join(map(to_latex, tables)))
    write_text(folder / "results.csv", results_csv(results))
