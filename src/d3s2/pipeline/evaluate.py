"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from d3s2.base.formats.files import write_text
from d3s2.base.machine.runtime import commit, hardware, versions
from d3s2.evaluation.grid import TestSplit, student_jobs
from d3s2.evaluation.scores import results_of, row_of
from d3s2.evaluation.sets import Sets
from d3s2.evaluation.students import train_students
from d3s2.execution.executors import executor_of
from d3s2.execution.pieces import Needs
from d3s2.metrics.formulas import rarest_classes
from d3s2.metrics.metric import metric_named
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.judge import JUDGE, judge
from d3s2.pipeline.run import Run, set_folder
from d3s2.pipeline.select import choose_masks
from d3s2.report.records import MetricTitle, Results, write_results
from d3s2.report.set_names import HERE
from d3s2.report.student_rows import StudentRow, write_student_rows
from d3s2.report.tables import metrics_table, results_csv, results_table, to_latex, to_markdown

RESULTS = "results.json"
ROWS = "records.parquet"


def evaluate(run: Run, command: str = "") -> Results:
    """Distils, trains students, and writes tables, records and judges.json; what is there already is left as it is."""
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
    metrics = {name: metric_named(name) for name in config.metrics}  # one of the user's is imported before any training
    each = config.devices_per_student
    executor = executor_of(run.execution, run.folder, run.device, workers=config.workers, devices_each=each)
    test = TestSplit(run.test_digest, tuple(run.test_census.class_px.tolist()))
    judge = run.models / JUDGE
    jobs = list(
        student_jobs(config, run.config.data, sets_of(run), test, folder=folder, judge=judge, device=run.device)
    )
    needs = Needs(num_gpus=each if run.device.type == "cuda" else 0)
    records = train_students(jobs, executor, needs, run.progress, partial(run.logged, "students"))
    tail = rarest_classes(census.images_per_class)
    rows = [row_of(record, tail, metrics) for record in records]
    results = Results(
        sets=results_of(rows),
        metrics=tuple(MetricTitle(name, metric.title) for name, metric in metrics.items()),
        class_names=census.class_names,
        tail_classes=tail,
        dataset=run.test_data.name,
        hardware=hardware(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        command=command,
        versions=versions(),
    )
    return results, rows


def sets_of(run: Run) -> Sets:
    """What each name of a set stands for in a run."""

    def choose(method: str, num_masks: int | None) -> tuple[str, ...]:
        return choose_masks(run, method, num_masks).ids

    own = {name: set_folder(run, name) for name in HERE}
    return Sets(run.config.data, run.train_data, run.data_digest, choose, own, run.config.seed, run.progress)


def _write_tables(folder: Path, results: Results) -> None:
    tables = (results_table(results), metrics_table(results))
    write_text(folder / "results.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "results.tex", "\n".join(map(to_latex, tables)))
    write_text(folder / "results.csv", results_csv(results))
