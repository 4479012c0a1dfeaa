"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

import numpy as np

from d3s2.base.files import sha256_file, sha256_text, write_text
from d3s2.base.runtime import commit, hardware, versions
from d3s2.evaluation.judges import JUDGE, judge_sets
from d3s2.evaluation.set_names import HERE, parse_set
from d3s2.evaluation.sets import Sets, set_folder
from d3s2.evaluation.student_records import StudentRecord, digest_of, student_path
from d3s2.evaluation.students import StudentJob, num_workers, places_for, train_students
from d3s2.metrics import (
    boundary_iou_per_class,
    frequency_weighted_iou,
    iou_per_class,
    mean_boundary_iou,
    mean_iou,
    pixel_accuracy,
    rarest_classes,
)
from d3s2.nets.hub import locate
from d3s2.pipeline.config import ArchitectureConfig
from d3s2.pipeline.distill import distill_run
from d3s2.pipeline.fit import precision_name
from d3s2.pipeline.run import Run
from d3s2.report.records import Results, SetResult, mean_and_std, write_results
from d3s2.report.student_rows import StudentRow, write_student_rows
from d3s2.report.tables import metrics_table, results_csv, results_table, to_latex, to_markdown

RESULTS = "results.json"
ROWS = "records.parquet"


def evaluate(run: Run, command: str = "") -> Results:
    """Distils, trains students, and writes tables, records and judges.json; what is there already is left as it is."""
    _ = run.test_digest  # reads the masks of the test split: a bad one is named now, not after a night of sampling
    distill_run(run)
    results, rows = compare_sets(run, run.folder, command)
    folder = run.folder
    write_student_rows(folder / ROWS, rows, results.class_names)
    write_results(folder / RESULTS, results)
    _write_tables(folder, results)
    judge_sets(run, _judged(run))
    return results


def compare_sets(run: Run, folder: Path, command: str = "") -> tuple[Results, list[StudentRow]]:
    """Trains and scores the students of a run.

    Args:
        folder: that keeps students; those that are in it are not trained again, whichever run asked for them.
    """
    config, census = run.config.evaluate, run.census
    places = places_for(run.device, config.devices_per_student)
    jobs = list(_jobs(run, Sets(run), folder))
    records = train_students(jobs, folder, places, num_workers(config.workers, places), run.progress)
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


def _row(record: StudentRecord, tail: Sequence[int]) -> StudentRow:
    confusion, boundary = record.matrix, record.boundary_counts
    early = sorted((int(iterations), miou) for iterations, miou in record.early.items())
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
        early_iterations=tuple(iterations for iterations, _ in early),
        early_miou=tuple(miou for _, miou in early),
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
    # Where a student was trained before early scores were asked for, the figure has none of that set.
    early = tuple(sorted(set.intersection(*(set(row.early_iterations) for row in mine))))
    early_mious = [mean_and_std(_early_mious(mine, iterations)) for iterations in early]
    # A class that no mask of the test split holds is None for every seed, whatever some of them predict.
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
        early_iterations=early,
        early_miou_mean=tuple(mean for mean, _ in early_mious),
        early_miou_std=tuple(std for _, std in early_mious),
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


def _early_mious(rows: Sequence[StudentRow], iterations: int) -> list[float]:
    return [row.early_miou[row.early_iterations.index(iterations)] for row in rows]


def _mean_of_known(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return float(np.mean(known)) if known else None


def _write_tables(folder: Path, results: Results) -> None:
    tables = (results_table(results), metrics_table(results))
    write_text(folder / "results.md", "\n".join(map(to_markdown, tables)))
    write_text(folder / "results.tex", "\n".join(map(to_latex, tables)))
    write_text(folder / "results.csv", results_csv(results))


def _judged(run: Run) -> dict[str, Path]:
    """The distilled sets of this run among those compared, alone or as part of a mix."""
    sources = dict.fromkeys(part.source for name in run.config.evaluate.sets for part in parse_set(name))
    return {source: set_folder(run, source) for source in sources if source in HERE}


def _jobs(run: Run, sets: Sets, folder: Path) -> Iterator[StudentJob]:
    """Every student of the grid; `folder` keeps them."""
    config = run.config.evaluate
    test_px = tuple(run.test_census.class_px.tolist())
    backbones = {architecture.student: _backbone_digest(architecture) for architecture in config.architectures}
    common = {
        "test": run.test_digest,
        "size": list(run.config.data.size),
        "inference": config.inference and config.inference.model_dump(mode="json"),
        # Sums in another order, what the loss draws, batch normalisation: several devices give other numbers than one.
        "devices": config.devices_per_student,
    }
    # Seeds outside, sets inside: a first comparison of all sets is there early.
    for seed in range(config.seeds):
        for architecture in config.architectures:
            protocol = architecture.protocol(config.train)
            # What `auto` is on this machine: another format gives other numbers.
            protocol = protocol.model_copy(update={"precision": precision_name(protocol, run.device)})
            for set_name in config.sets:
                members = sets.members(set_name, seed)
                depends = {
                    "pairs": sets.content(members),
                    "soft_weight": config.soft_weight if any(part.soft for part in members) else None,
                    "architecture": architecture.name,
                    "backbone": backbones[architecture.student],
                    "protocol": protocol.model_dump(mode="json"),
                    "seed": seed,
                    **common,
                }
                digest = digest_of(depends)
                record = student_path(folder, set_name, architecture.student, seed, digest)
                judges = (set_name, seed, architecture) == ("all", 0, config.architectures[0])
                yield StudentJob(
                    set_name=set_name,
                    architecture=architecture,
                    seed=seed,
                    depends=depends,
                    test_px=test_px,
                    data=run.config.data,
                    members=members,
                    protocol=protocol,
                    soft_weight=config.soft_weight,
                    inference=config.inference,
                    device=str(run.device),
                    record=record,
                    checkpoint_s=config.checkpoint_s,
                    score_every=config.score_every,
                    num_devices=config.devices_per_student,
                    keep=run.models / JUDGE if judges else None,
                )


def _backbone_digest(architecture: ArchitectureConfig) -> str | None:
    """Of the weights that the students start from, whatever the folder or id is called; None from scratch."""
    if architecture.backbone is None:
        return None
    folder = locate(architecture.backbone, revision=architecture.backbone_revision)
    return sha256_text(" ".join(f"{path.name} {sha256_file(path)}" for path in sorted(folder.glob("*.safetensors"))))
