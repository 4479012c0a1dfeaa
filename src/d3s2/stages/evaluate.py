"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

import numpy as np
import torch

from d3s2.base.files import sha256_text, write_text
from d3s2.base.runtime import commit, hardware, versions
from d3s2.base.seeds import numpy_generator
from d3s2.data.dataset import stamp
from d3s2.metrics import (
    boundary_iou_per_class,
    frequency_weighted_iou,
    iou_per_class,
    mean_boundary_iou,
    mean_iou,
    pixel_accuracy,
    rarest_classes,
)
from d3s2.report.records import Results, SetResult, mean_and_std, write_results
from d3s2.report.student_rows import StudentRow, write_student_rows
from d3s2.report.tables import metrics_table, results_csv, results_table, to_latex, to_markdown
from d3s2.stages.judges import JUDGE, judge_sets
from d3s2.stages.run import Run
from d3s2.stages.select import census_of, choose_masks
from d3s2.stages.students import StudentJob, StudentRecord, num_workers, train_students
from d3s2.stages.synthesize import UNGUIDED
from d3s2.store.reader import DistilledSet

RESULTS = "results.json"
ROWS = "records.parquet"


def evaluate(run: Run, command: str = "") -> Results:
    """Trains the students that are not there yet and writes tables, records and judges.json into the run's folder."""
    results, rows = compare_sets(run, run.folder, command)
    folder = run.folder
    write_student_rows(folder / ROWS, rows, results.class_names)
    write_results(folder / RESULTS, results)
    _write_tables(folder, results)
    distilled = [name for name in run.config.evaluate.sets if name.startswith("distilled")]
    judge_sets(run, {name: _folder_of(run, name) for name in distilled})
    return results


def compare_sets(run: Run, folder: Path, command: str = "") -> tuple[Results, list[StudentRow]]:
    """Trains and scores the students of a run.

    Args:
        folder: that keeps students; those that are in it are not trained again, whichever run asked for them.
    """
    census = census_of(run)
    config = run.config.evaluate
    jobs = list(_jobs(run, choose_masks(run, census, "class-balanced").ids))
    records = train_students(jobs, folder, num_workers(config.workers, run.device), run.progress)
    tail = rarest_classes(census.images_per_class)
    rows = [_row(record, tail) for record in records]
    results = Results(
        sets=tuple(
            _set_result(name, architecture.student, rows)
            for architecture in config.architectures
            for name in config.sets
        ),
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


def random_ids(run: Run, num_masks: int, seed: int) -> tuple[str, ...]:
    """A random set of the same size; every seed of the evaluation draws its own."""
    ids = run.train_data.ids
    chosen = numpy_generator(run.config.seed, "random-set", seed).permutation(len(ids))[:num_masks]
    return tuple(ids[int(index)] for index in sorted(chosen))


def _row(record: StudentRecord, tail: Sequence[int]) -> StudentRow:
    confusion, boundary = record.matrix, record.boundary_counts
    return StudentRow(
        set_name=record.set_name,
        student=record.student,
        seed=record.seed,
        items=record.items,
        bytes=record.bytes,
        iterations=record.iterations,
        miou=_known(mean_iou(confusion)),
        tail_miou=_known(mean_iou(confusion, tail)),
        boundary_iou=_known(mean_boundary_iou(boundary)),
        fw_iou=_known(frequency_weighted_iou(confusion)),
        pixel_accuracy=_known(pixel_accuracy(confusion)),
        iou_per_class=tuple(map(_known, iou_per_class(confusion).tolist())),
        boundary_iou_per_class=tuple(map(_known, boundary_iou_per_class(boundary).tolist())),
        wall_s=record.wall_s,
        peak_memory_gib=record.peak_memory_gib,
        digest=record.digest,
    )


def _known(share: float) -> float | None:
    return None if isnan(share) else share


def _set_result(name: str, student: str, rows: Sequence[StudentRow]) -> SetResult:
    mine = [row for row in rows if (row.set_name, row.student) == (name, student)]

    def over_seeds(share: Callable[[StudentRow], float | None]) -> tuple[float | None, float | None]:
        shares = [value for value in map(share, mine) if value is not None]
        return mean_and_std(shares) if shares else (None, None)

    mious = tuple(row.miou for row in mine if row.miou is not None)
    miou_mean, miou_std = over_seeds(lambda row: row.miou)
    tail_mean, tail_std = over_seeds(lambda row: row.tail_miou)
    boundary_mean, boundary_std = over_seeds(lambda row: row.boundary_iou)
    fw_mean, fw_std = over_seeds(lambda row: row.fw_iou)
    accuracy_mean, accuracy_std = over_seeds(lambda row: row.pixel_accuracy)
    # A class that no mask of the test split holds is absent for every seed, or predicted by some: then it is 0 there.
    per_class = zip(*(row.iou_per_class for row in mine), strict=True)
    return SetResult(
        name=name,
        items=mine[0].items,
        bytes=mine[0].bytes,
        student=student,
        seeds=tuple(row.seed for row in mine),
        iterations=mine[0].iterations,
        miou_mean=miou_mean,
        miou_std=miou_std,
        tail_miou_mean=tail_mean,
        tail_miou_std=tail_std,
        miou_per_seed=mious,
        iou_per_class=tuple(_mean_of_known(shares) for shares in per_class),
        boundary_iou_mean=boundary_mean,
        boundary_iou_std=boundary_std,
        fw_iou_mean=fw_mean,
        fw_iou_std=fw_std,
        pixel_accuracy_mean=accuracy_mean,
        pixel_accuracy_std=accuracy_std,
        wall_s=round(sum(row.wall_s for row in mine), 1),
        peak_memory_gib=max(row.peak_memory_gib for row in mine),
        failure=None if mious else "not a single pixel of the test split was scored",
    )


def _mean_of_known(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _write_tables(folder: Path, results: Results) -> None:
    tables = (results_table(results), metrics_table(results))
    write_text(folder / "results.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "results.tex", "\n".join(map(to_latex, tables)))
    write_text(folder / "results.csv", results_csv(results))


def _jobs(run: Run, balanced: Sequence[str]) -> Iterator[StudentJob]:
    """Every student of the grid.

    Args:
        balanced: ids of the class-balanced real masks; other sets follow from the run.
    """
    config = run.config.evaluate
    test_digest = f"{run.test_data.name} {stamp(run.test_data)}"
    threads = 1 if num_workers(config.workers, run.device) > 1 else torch.get_num_threads()
    # Seeds outside, sets inside: a first comparison of all sets is there early.
    for seed in range(config.seeds):
        for architecture in config.architectures:
            protocol = architecture.protocol(config.train)
            network = f"{architecture.name} {architecture.backbone}"
            for set_name in config.sets:
                ids, folder = _members(run, set_name, seed, balanced)
                content = _content(run, ids, folder)
                settings = [content, test_digest, network, protocol.model_dump_json(), seed, run.config.data.size]
                judges = (set_name, seed, architecture) == ("all", 0, config.architectures[0])
                yield StudentJob(
                    set_name=set_name,
                    architecture=architecture,
                    seed=seed,
                    digest=sha256_text("|".join(map(str, settings))),
                    data=run.config.data,
                    ids=ids,
                    folder=folder,
                    protocol=protocol,
                    device=str(run.device),
                    threads=threads,
                    keep=run.models / JUDGE if judges else None,
                )


def _members(run: Run, set_name: str, seed: int, balanced: Sequence[str]) -> tuple[tuple[str, ...], Path | None]:
    if set_name == "random":
        return random_ids(run, len(balanced), seed), None
    if set_name == "balanced":
        return tuple(balanced), None
    if set_name == "all":
        return tuple(run.train_data.ids), None
    folder = _folder_of(run, set_name)
    return tuple(DistilledSet(folder).ids), folder


def _folder_of(run: Run, set_name: str) -> Path:
    return run.folder / UNGUIDED if set_name == "distilled-unguided" else run.folder


def _content(run: Run, ids: Sequence[str], folder: Path | None) -> str:
    """What the pairs of a set are, without reading them."""
    if folder is None:
        return sha256_text(f"{run.data_digest} {' '.join(ids)}")
    return str(DistilledSet(folder).manifest["items_sha256"])
