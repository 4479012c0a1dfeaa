"""Stage ablate: a grid of variants of one run, its models fitted once, its real sets trained once, in one table.

Folders inside that of the ablation:

    shared/<digest>/    census, teacher, feature banks, generator, for all variants that have them in common
    students/           every student, under a digest of all that it depends on
    variants/<name>/    a distilled set each
    ablation-<split>.*  the table as JSON, Markdown and CSV, and a page with figures
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import torch

from d3s2.base.errors import UsageError
from d3s2.base.formats.files import write_text
from d3s2.base.machine.runtime import commit, hardware, versions
from d3s2.base.progress import SILENT, Progress
from d3s2.data import open_split
from d3s2.evaluation import StudentRecord, parse_set
from d3s2.execution import HERE as THIS_MACHINE
from d3s2.execution import Execution, executor_of
from d3s2.pipeline.config import RunConfig
from d3s2.pipeline.controls.validation import require_own_split
from d3s2.pipeline.distill import distill_run, prepare_run
from d3s2.pipeline.evaluate import Comparison, begin_comparison
from d3s2.pipeline.fingerprint import fingerprint
from d3s2.pipeline.run import Run, open_run, set_folder
from d3s2.pipeline.synthesize import begin_sets, make_items
from d3s2.pipeline.variants import Variant, folder_name
from d3s2.pipeline.work.students import train_jobs
from d3s2.pipeline.work.workers import workers_for_models
from d3s2.report import ReportContent, ablation_csv, ablation_table, render, to_markdown
from d3s2.results import REFERENCE, Ablation, AblationRow, write_ablation
from d3s2.set_names import BEST_REAL, HERE, SOFT_END, parse_name
from d3s2.store import MANIFEST, DistilledSet

SHARED, VARIANTS = "shared", "variants"


@dataclass(frozen=True)
class Grid:
    """What an ablation does.

    Args:
        config: of the recipe.
        variants: of it.
        split: that students are scored on.
        execution: where the pieces of work of each run are done.
    """

    config: RunConfig
    variants: tuple[Variant, ...]
    split: str
    execution: Execution = THIS_MACHINE

    def __post_init__(self) -> None:
        if self.split == self.config.data.train:
            raise UsageError(
                f"--split {self.split} is the split that students are trained on; give another one, for example "
                f"'{self.config.data.test}'."
            )
        chooses = any(parse_name(name).asks_for_best_real for name in self.config.evaluate.sets)
        if chooses and self.split == self.config.data.test:  # another split is one to choose on
            require_own_split(self.config.data)

    @property
    def runs(self) -> Mapping[str, RunConfig]:
        """Folder of each distilled set -> its run; variants that make the same set share one."""
        made = [variant for variant in self.variants if variant.makes_a_set]
        configs = [variant.config(self.config) for variant in made]
        return {folder_name(config, self.config): config for config in configs}

    @property
    def references(self) -> tuple[str, ...]:
        """The real sets of the recipe, with hard labels and with soft ones."""
        return tuple(name for name in self.config.evaluate.sets if parse_name(name).is_real)


def ablate_grid(
    grid: Grid, folder: Path, device: torch.device, progress: Progress = SILENT, command: str = ""
) -> Ablation:
    """Distils and scores every variant, resuming from what exists, and writes the table.

    Args:
        folder: everything that the ablation writes; held by the caller.
    """
    scored_on = open_split(grid.config.data, grid.split).name  # before any work: the split may be none
    lead = Run(grid.config, folder, device, progress, execution=grid.execution)
    _make_sets(grid, lead)
    comparisons = _compared(grid, lead)
    rows = [row for variant, comparison in comparisons for row in _scored(grid, variant, comparison, command)]
    found = Ablation(
        rows=tuple(rows),
        dataset=scored_on,
        config=grid.config.model_dump(mode="json"),
        hardware=hardware(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        command=command,
        versions=versions(),
    )
    path = folder / f"ablation-{grid.split}"
    write_ablation(path.with_suffix(".json"), found)
    write_text(path.with_suffix(".md"), to_markdown(ablation_table(found)))
    write_text(path.with_suffix(".csv"), ablation_csv(found))
    write_text(path.with_suffix(".html"), render(_page(grid, found)))
    return found


def share_grid(grid: Grid, folder: Path, device: torch.device, progress: Progress = SILENT) -> str:
    """The share of this process of making the sets of an ablation, or of its students where all sets are finished.

    Returns:
        what it took part in: 'sets' or 'students'.
    """
    open_split(grid.config.data, grid.split)  # before any work, as above
    lead = Run(grid.config, folder, device, progress, execution=grid.execution)
    if _make_sets(grid, lead):
        return "sets"
    _compared(grid, lead)
    return "students"


def _page(grid: Grid, found: Ablation) -> ReportContent:
    machine = ", ".join(f"{key} {value}" for key, value in found.hardware.items())
    return ReportContent(
        title=f"{grid.config.name}, {len(grid.variants)} variants",
        subtitle=f"Axes: {', '.join(found.axes)}; students scored on {found.dataset}.",
        date=found.date,
        ablation=found,
        provenance={
            "Called": found.command,
            "Versions": ", ".join(f"{name} {number}" for name, number in found.versions.items()),
            "Commit": found.commit or "installed package",
            "Hardware": machine,
        },
    )


def _run_of(config: RunConfig, lead: Run, where: Path | None) -> Run:
    """A variant's run; `where` None for real sets, which write no folder of their own."""
    shared = lead.folder / SHARED / fingerprint(config, "fit")[:12]  # banks have names of their own
    if where is None:
        return replace(lead, config=config, shared=shared)
    return open_run(config, where, lead.device, lead.progress, shared, lead.execution)


def _make_sets(grid: Grid, lead: Run) -> bool:
    """Makes the sets that are not there; whether there were any.

    Several workers have the batches of all variants as one list, so that none waits for the end of a variant. A process
    with a share of the work leaves the sets unfinished: `join_run` finishes them.
    """
    runs = [_run_of(config, lead, lead.folder / VARIANTS / name) for name, config in grid.runs.items()]
    missing = [run for run in runs if not _is_made(run)]
    executor = executor_of(lead.execution, lead.folder, lead.device, workers=workers_for_models(lead))
    if missing and (executor.shares or not executor.in_this_process):
        # Of copies: what a run read of its data does not outlive the preparation.
        make_items(lead, [begin_sets(one, *prepare_run(replace(one))) for one in missing], None)
    if lead.execution.share is None:
        for run in missing:
            lead.progress.say(f"{VARIANTS}/{run.folder.name}")
            distill_run(replace(run))
    return bool(missing)


def _is_made(run: Run) -> bool:
    there = (run.folder / MANIFEST).exists()
    return there and DistilledSet(run.folder).manifest["inputs"]["data_digest"] == run.data_digest


def _compared(grid: Grid, lead: Run) -> list[tuple[Variant, tuple[Comparison, list[StudentRecord]]]]:
    """Trains the students of all variants, as one list of pieces."""
    variants = (Variant(REFERENCE, "recipe", (), ()), *grid.variants)
    comparisons = [
        (variant, begin_comparison(_scored_run(grid, variant, sets, lead), lead.folder))
        for variant in variants
        if (sets := grid.references if variant.axis == REFERENCE else variant.sets)
    ]
    jobs = {job.record: job for _, comparison in comparisons for job in comparison.jobs}
    found: dict[Path, StudentRecord] = {}
    for devices in sorted({job.num_devices for job in jobs.values()}):
        some = [job for job in jobs.values() if job.num_devices == devices]
        records = train_jobs(lead, some, grid.config.evaluate.workers)
        found |= zip((job.record for job in some), records, strict=True)
    return [
        (variant, (comparison, [found[job.record] for job in comparison.jobs])) for variant, comparison in comparisons
    ]


def _scored_run(grid: Grid, variant: Variant, sets: tuple[str, ...], lead: Run) -> Run:
    """The run of a variant whose students are those of `sets`, scored on the split of the grid."""
    config = variant.config(grid.config)
    where = lead.folder / VARIANTS / folder_name(config, grid.config) if variant.makes_a_set else None
    update = {
        "data": config.data.model_copy(update={"test": grid.split}),
        "evaluate": config.evaluate.model_copy(update={"sets": sets}),
    }
    return replace(_run_of(config, lead, where), config=config.model_copy(update=update))


def _scored(
    grid: Grid, variant: Variant, compared: tuple[Comparison, list[StudentRecord]], command: str
) -> list[AblationRow]:
    """The rows of one variant."""
    comparison, records = compared
    results, _ = comparison.results(records, command)
    num_all = len(comparison.run.train_data.ids)
    chosen = {f"{BEST_REAL}{SOFT_END if choice.soft else ''}": choice.chosen for choice in comparison.choices}
    rows = []
    for result in results.sets:
        made = _made_set(comparison.run, result.name)
        rows.append(
            AblationRow(
                axis=variant.axis,
                variant=variant.name,
                overrides=variant.overrides,
                share=result.items / num_all,
                energies=_mean_energies(made) if made else {},
                sampling_s=made.manifest["cost"]["sampling_s"] if made else None,
                result=result,
                chosen=chosen.get(result.name),
            )
        )
    return rows


def _made_set(run: Run, name: str) -> DistilledSet | None:
    """The set that a name stands for, where it is one that this run made and nothing else."""
    parts = parse_set(name)
    alone = len(parts) == 1 and parts[0].source in HERE
    return DistilledSet(set_folder(run, parts[0].source)) if alone else None


def _mean_energies(distilled: DistilledSet) -> dict[str, float]:
    names = sorted({name for item in distilled.items for name in item.energies_after})
    return {
        name: round(fmean(item.energies_after[name] for item in distilled.items if name in item.energies_after), 4)
        for name in names
    }
