"""Students as pieces of work."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from d3s2.evaluation import EvaluateSettings, Sets, StudentJob, StudentRecord, row_of, student_jobs, train_students
from d3s2.execution import Needs, executor_of
from d3s2.metrics import Metric
from d3s2.pipeline.controls.validation import scored_split
from d3s2.pipeline.run import Run
from d3s2.results import StudentRow


def jobs_of(run: Run, sets: Sets, settings: EvaluateSettings, *, folder: Path, judge: Path) -> list[StudentJob]:
    """Every student that `settings` ask for.

    Args:
        run: whose test split they are scored on.
        sets: what names of sets stand for.
        folder: that keeps their records.
        judge: where the first student of all real data is kept.
    """
    return [
        *student_jobs(settings, run.config.data, sets, scored_split(run), folder=folder, judge=judge, device=run.device)
    ]


def train_jobs(run: Run, jobs: Sequence[StudentJob], workers: int) -> list[StudentRecord]:
    """The record of each job; those that are there already are not trained again.

    Args:
        run: whose executor trains them, and whose log names them.
        jobs: of students that train on equally many devices.
        workers: side by side, where the call says nothing.
    """
    each = jobs[0].num_devices
    executor = executor_of(run.execution, run.folder, run.device, workers=workers, devices_each=each)
    needs = Needs(num_gpus=each if run.device.type == "cuda" else 0)
    return train_students(jobs, executor, needs, run.progress, partial(run.logged, "students"))


def rows_of(records: Sequence[StudentRecord], metrics: Mapping[str, Metric], tail: Sequence[int]) -> list[StudentRow]:
    """The scores of each student."""
    return [row_of(record, tuple(tail), metrics) for record in records]
