"""Students as pieces of work."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from d3s2.evaluation import EvaluateSettings, Sets, row_of, student_jobs, train_students
from d3s2.execution import Needs, executor_of
from d3s2.metrics import Metric
from d3s2.pipeline.controls.validation import scored_split
from d3s2.pipeline.run import Run
from d3s2.results import StudentRow


def student_rows(
    run: Run,
    sets: Sets,
    settings: EvaluateSettings,
    metrics: Mapping[str, Metric],
    tail: Sequence[int],
    *,
    folder: Path,
    judge: Path,
) -> list[StudentRow]:
    """The scores of every student that `settings` ask for; those that are there already are not trained again.

    Args:
        run: whose test split they are scored on.
        sets: what names of sets stand for.
        folder: that keeps their records.
        judge: where the first student of all real data is kept.
    """
    jobs = student_jobs(
        settings, run.config.data, sets, scored_split(run), folder=folder, judge=judge, device=run.device
    )
    each = settings.devices_per_student
    executor = executor_of(run.execution, run.folder, run.device, workers=settings.workers, devices_each=each)
    needs = Needs(num_gpus=each if run.device.type == "cuda" else 0)
    records = train_students(list(jobs), executor, needs, run.progress, partial(run.logged, "students"))
    return [row_of(record, tuple(tail), metrics) for record in records]
