"""The best real subset of the run's budget: chosen by students on the validation split, and the choice recorded."""

from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from d3s2.base.errors import WorkError
from d3s2.base.formats.files import write_json
from d3s2.evaluation import Sets
from d3s2.metrics import MIOU, metric_named, rarest_classes
from d3s2.pipeline.controls.validation import on_validation
from d3s2.pipeline.run import Run
from d3s2.pipeline.work.students import jobs_of, rows_of, train_jobs
from d3s2.results.controls import RealChoice
from d3s2.set_names import SOFT_END

BEST_REAL_FILE = "best_real{}.json"


def choose_best_real(run: Run, sets: Sets, folder: Path, *, soft: bool) -> RealChoice:
    """Trains students of the first architecture on each candidate, scores them on `data.val`, and takes the best.

    Args:
        run: whose test split is not read.
        sets: of the run.
        folder: that keeps students; those that are in it are not trained again.
        soft: candidates with the teacher's soft labels; they may have another best one.

    Raises:
        UsageError: the validation split shares pairs with the training split.
        WorkError: no candidate has a score.
    """
    held, config = on_validation(run), run.config.evaluate
    how, end = config.best_real, SOFT_END if soft else ""
    update = {
        "sets": tuple(f"{name}{end}" for name in how.candidates),
        "seeds": how.seeds or config.seeds,
        "architectures": config.architectures[:1],
        "score_every": 0,
    }
    asked = config.model_copy(update=update)
    run.progress.say(f"best-real: {len(how.candidates)} ways to choose real pairs, scored on {held.test_data.name}")
    metrics, tail = {MIOU: metric_named(MIOU)}, rarest_classes(run.census.images_per_class)
    scores: dict[str, list[float]] = {name: [] for name in how.candidates}
    jobs = jobs_of(held, sets, asked, folder=folder, judge=run.models)
    for row in rows_of(train_jobs(held, jobs, asked.workers), metrics, tail):
        miou = row.scores[MIOU]
        if miou is not None:
            scores[row.set_name.removesuffix(end)].append(miou)
    known = {name: values for name, values in scores.items() if values}
    if not known:
        raise WorkError(f"{held.test_data.name}: not a single pixel was scored, so that no real subset is the best.")
    choice = RealChoice(
        chosen=max(known, key=lambda name: fmean(known[name])),
        soft=soft,
        dataset=held.test_data.name,
        student=config.architectures[0].student,
        scores={name: tuple(values) for name, values in scores.items()},
    )
    write_json(folder / BEST_REAL_FILE.format(end), asdict(choice))
    return choice
