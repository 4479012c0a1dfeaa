"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from d3s2.base.formats.files import write_text
from d3s2.base.machine.runtime import commit, hardware, versions
from d3s2.evaluation import Sets, StudentJob, StudentRecord, results_of
from d3s2.metrics import Metric, metric_named, rarest_classes
from d3s2.pipeline.controls.best_real import choose_best_real
from d3s2.pipeline.controls.draws import draw_folder, drawn, make_draws
from d3s2.pipeline.controls.soft_real import softener
from d3s2.pipeline.controls.validation import on_validation, require_own_split, scored_split
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.fitting.features import teacher_features
from d3s2.pipeline.fitting.generator import require_size
from d3s2.pipeline.judge import JUDGE, judge
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import choose_masks, composed_ids
from d3s2.pipeline.work.students import jobs_of, rows_of, train_jobs
from d3s2.report import result_files
from d3s2.results import MetricTitle, Results, StudentRow, write_results, write_student_rows
from d3s2.results.controls import RealChoice
from d3s2.set_names import COMPOSED, parse_name

RESULTS = "results.json"
ROWS = "records.parquet"


def evaluate_run(run: Run, command: str = "") -> Results:
    """Distils, trains students, and writes tables, records and judges.json; what is there already is left as it is.

    Raises:
        UsageError: a choice is asked for and the validation split is no split of its own.
    """
    require_size(run)
    chooses = any(parse_name(name).asks_for_best_real for name in run.config.evaluate.sets)
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
    for name, text in result_files(results).items():
        write_text(folder / name, text)
    judge(run)
    return results


def compare_sets(run: Run, folder: Path, command: str = "") -> tuple[Results, list[StudentRow]]:
    """Trains and scores the students of a run.

    Args:
        folder: that keeps students; those that are in it are not trained again, whichever run asked for them.
    """
    comparison = begin_comparison(run, folder)
    return comparison.results(train_jobs(run, comparison.jobs, run.config.evaluate.workers), command)


@dataclass(frozen=True)
class Comparison:
    """The students of a run, and what their table says beside their scores.

    Args:
        folder: that keeps students.
        choices: of real subsets.
    """

    run: Run
    folder: Path
    jobs: tuple[StudentJob, ...]
    metrics: Mapping[str, Metric]
    choices: tuple[RealChoice, ...]

    def results(self, records: Sequence[StudentRecord], command: str) -> tuple[Results, list[StudentRow]]:
        """The table, and a row a student."""
        run, config, census = self.run, self.run.config.evaluate, self.run.census
        tail = rarest_classes(census.images_per_class)
        rows = rows_of(records, self.metrics, tail)
        sets, comparisons = results_of(rows)
        results = Results(
            sets=sets,
            metrics=tuple(MetricTitle(name, metric.title) for name, metric in self.metrics.items()),
            class_names=census.class_names,
            tail_classes=tail,
            dataset=run.test_data.name,
            times_scored=scored_split(run).times_scored(self.folder),
            draws=config.draws,
            scored_at=config.scored_at,
            best_real=self.choices,
            comparisons=comparisons,
            hardware=hardware(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            command=command,
            versions=versions(),
        )
        return results, rows


def begin_comparison(run: Run, folder: Path) -> Comparison:
    """The students that a run is compared by; draws are made and real subsets chosen where it asks for them."""
    config = run.config.evaluate
    choices: list[RealChoice] = []

    def best_real(sets: Sets, soft: bool) -> str:
        choices.append(choose_best_real(run, sets, folder, soft=soft))
        return choices[-1].chosen

    if any(parse_name(name).is_made_here for name in config.sets):
        make_draws(run)
    metrics = {name: metric_named(name) for name in config.metrics}  # one of the user's is imported before any training
    jobs = jobs_of(run, sets_of(run, best_real), config, folder=folder, judge=run.models / JUDGE)
    return Comparison(run, folder, tuple(jobs), metrics, tuple(choices))


def sets_of(run: Run, best_real: Callable[[Sets, bool], str] | None = None) -> Sets:
    """What each name of a set stands for in a run.

    Args:
        best_real: which real subset is the best, with soft labels or without; None where that is not asked for.
    """

    @cache
    def features() -> Float32[np.ndarray, "n d"]:
        return teacher_features(run)

    def choose(method: str, num_masks: int | None, draw: int) -> tuple[str, ...]:
        if method == COMPOSED:
            return composed_ids(drawn(run, draw))
        return choose_masks(drawn(run, draw), method, num_masks, run.config.evaluate.real_features, features).ids

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
