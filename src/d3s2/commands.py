"""The commands of `d3s2`. Each imports its work when it begins, so that help and a mistyped name answer at once."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from d3s2 import __version__
from d3s2.base.signals import unwinding
from d3s2.pipeline.config import RunConfig
from d3s2.pipeline.variants import AXES, plan_variants
from d3s2.recipes import load_run

if TYPE_CHECKING:
    from d3s2.pipeline.run import Run
    from d3s2.store.verify import Verification

app = typer.Typer(
    name="d3s2",
    help="Distils a segmentation data set into a small synthetic one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Recipe = Annotated[str, typer.Argument(help="Name of a recipe (scenes, camvid, ccp ...) or path of a run.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes of the config, for example select.ratio=0.05 data.root=DIR.")
]
Out = Annotated[Path, typer.Option(help="Folder of the run; one that is there is gone on with.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: the best there is.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; default: the recipe's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan: items, steps, estimated time, disk.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object on standard output.")]


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    fit: Annotated[bool, typer.Option("--fit", help="Fit teacher and generator anew (about half an hour).")] = False,
    device: Device = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """The whole method offline on `scenes`: minutes on two cores, ends with a page to look at."""
    overrides = ["teacher.source=null", "generator.settings={}"] if fit else []
    _work("scenes", overrides, out, device, seed, dry_run, as_json, ("distill", "evaluate"))


@app.command()
def distill(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Census, select, fit or load, synthesize: makes the distilled set."""
    _work(recipe, overrides, out, device, seed, dry_run, as_json, ("distill",))


@app.command(name="evaluate")
def evaluate_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Students on random / balanced / distilled / all real; distils first where that is not done."""
    _work(recipe, overrides, out, device, seed, dry_run, as_json, ("distill", "evaluate"))


@app.command(name="ablate")
def ablate_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/ablation"),
    axis: Annotated[
        list[str] | None, typer.Option(help=f"What to vary: {', '.join(AXES)}; may be repeated. Default: parts.")
    ] = None,
    vary: Annotated[
        list[str] | None, typer.Option(help="A free axis, for example synthesize.steps=12,24; may be repeated.")
    ] = None,
    split: Annotated[str, typer.Option(help="What students are scored on: choose on val, report on test.")] = "val",
    device: Device = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Variants of one run in one table: parts of the method, strength, budget ...; models are fitted once."""
    config = _config(recipe, overrides, seed)
    variants = plan_variants(config, axis or (), vary or ())
    from d3s2.base.files import locked
    from d3s2.base.runtime import pick_device, within_cores
    from d3s2.pipeline.ablate import Grid, ablate, plan_ablation
    from d3s2.report.ablation import ablation_table
    from d3s2.report.tables import to_markdown
    from d3s2.terminal import progress_for_people

    grid, chosen = Grid(config, variants, split), pick_device(device)
    if dry_run:
        plan = plan_ablation(grid, chosen)
        _print_json(asdict(plan)) if as_json else _print(plan.as_text())
        return
    progress = progress_for_people()
    with unwinding(), locked(out), within_cores(progress):
        found = ablate(grid, out, chosen, progress, _called())
    if as_json:
        _print_json(asdict(found))
    else:
        _print(f"{to_markdown(ablation_table(found))}\nThe tables are {out}/ablation-{split}.*")


@app.command(name="census")
def census_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    as_json: AsJson = False,
) -> None:
    """Counts the pixels of each class in each mask."""
    with _opened(_config(recipe, overrides, None), out, None) as run:
        census = run.census
    counts = dict(zip(census.class_names, (int(count) for count in census.images_per_class), strict=True))
    if as_json:
        _print_json({"masks": len(census.ids), "masks_per_class": counts})
        return
    for name, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        _print(f"{name:<24} {count:>8} masks  {100 * count / len(census.ids):6.2f} %")


@app.command(name="select")
def select_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    seed: Seed = None,
    show: Annotated[bool, typer.Option("--explain", help="For each mask the class it was taken for.")] = False,
    as_json: AsJson = False,
) -> None:
    """Chooses the masks."""
    config = _config(recipe, overrides, seed)
    from d3s2.pipeline.select import select
    from d3s2.selection.picks import explain

    with _opened(config, out, None) as run:
        selection = select(run)
    if as_json:
        _print_json(asdict(selection))
    elif show:
        _print(explain(selection))
    else:
        _print("\n".join(selection.ids))


@app.command(name="fit")
def fit_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in float16, as shipped weights are.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Fits teacher, feature bank and generator on the training split; several GPUs: torchrun -m d3s2.cli fit ..."""
    config = _config(recipe, overrides, seed)
    from d3s2.base.runtime import is_first_process, pick_device
    from d3s2.pipeline.fit import fit_everything
    from d3s2.planning.plan import make_plan

    if dry_run:
        _print(make_plan(config, pick_device(device), ("fit",)).as_text())
        return
    with _opened(config, out, device, joined=True) as run:
        fit_everything(run, half=half)
    if is_first_process():
        _print(f"Models are in {run.models}")


@app.command(name="synthesize")
def synthesize_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
) -> None:
    """Makes the images for the chosen masks."""
    config = _config(recipe, overrides, seed)
    from d3s2.pipeline.distill import distill_run

    with _opened(config, out, device) as run:
        distill_run(run)
    _print(f"The distilled set is in {out}")


@app.command(name="report")
def report_command(folder: Annotated[Path, typer.Argument(help="Folder of a run.")], device: Device = None) -> None:
    """Writes the page again, from what is on disk."""
    from d3s2.base.runtime import pick_device
    from d3s2.pipeline.report import write_report
    from d3s2.terminal import progress_for_people

    with unwinding():
        page = write_report(folder, pick_device(device), progress_for_people())
    _print(f"The page is {page}")


@app.command(name="verify")
def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")], as_json: AsJson = False
) -> None:
    """Checks a distilled set: every file, digest, label value, provenance."""
    from d3s2.store.verify import verify
    from d3s2.terminal import progress_for_people

    with unwinding():
        found = verify(folder, progress=progress_for_people())
    if as_json:
        _print_json({**asdict(found), "sound": found.sound})
    else:
        _print(_verified(found))
    if not found.sound:
        raise typer.Exit(1)


@app.command(name="export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    format: Annotated[str, typer.Option(help="hf, or ade20k.")] = "hf",  # noqa: A002
) -> None:
    """Writes a distilled set for `datasets.load_dataset` (hf) or for MMSegmentation and transformers (ade20k)."""
    from d3s2.store.export import export
    from d3s2.terminal import progress_for_people

    with unwinding():
        written = export(folder, to, format, progress_for_people())
    _print(f"Written to {written}")


@app.command()
def doctor(
    dataset: Annotated[str | None, typer.Option(help="A data set to examine, by name or YAML file.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where it lies.")] = None,
    as_json: AsJson = False,
) -> None:
    """What this machine has, which models and data are found, what is missing and how to get it."""
    from d3s2.planning.doctor import examine
    from d3s2.terminal import progress_for_people

    with unwinding():
        found = examine(dataset, root, progress_for_people())
    if as_json:
        _print_json(asdict(found))
    else:
        _print(found.as_text())
    if not found.sound:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Distils a segmentation data set into a small synthetic one."""
    if version:
        _print(f"d3s2 {__version__}")
        raise typer.Exit


def _work(
    recipe: str,
    overrides: list[str] | None,
    out: Path,
    device: str | None,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
    parts: tuple[str, ...],
) -> None:
    config = _config(recipe, overrides, seed)
    from d3s2.base.runtime import pick_device, stopwatch
    from d3s2.pipeline.distill import distill_run
    from d3s2.pipeline.evaluate import evaluate
    from d3s2.pipeline.report import write_report
    from d3s2.planning.plan import make_plan
    from d3s2.report.tables import results_table, to_markdown

    if dry_run:
        plan = make_plan(config, pick_device(device), parts)
        _print_json(asdict(plan)) if as_json else _print(plan.as_text())
        return
    with _opened(config, out, device) as run, stopwatch() as watch:
        results = None
        if "evaluate" in parts:
            results = evaluate(run, _called())
        else:
            distill_run(run)
        page = write_report(run.folder, run.device, run.progress)
    if as_json:
        table = asdict(results) if results is not None else None
        _print_json({"folder": str(out), "page": str(page), "wall_s": round(watch.wall_s, 1), "results": table})
        return
    if results is not None:
        _print(to_markdown(results_table(results)))
    _print(f"Done in {watch.wall_s / 60:.1f} minutes. The page is {page}")


@contextmanager
def _opened(config: RunConfig, out: Path, device: str | None, joined: bool = False) -> "Iterator[Run]":
    from d3s2.api import opened
    from d3s2.base.progress import SILENT
    from d3s2.base.runtime import is_first_process
    from d3s2.terminal import progress_for_people

    progress = progress_for_people() if is_first_process() else SILENT
    with unwinding(), opened(config, out, (), device, progress, joined=joined) as run:
        yield run


def _config(recipe: str, overrides: list[str] | None, seed: int | None) -> RunConfig:
    return load_run(recipe, [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])])


def _called() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _verified(found: "Verification") -> str:
    lines = [*found.problems, *(f"{name}: belongs to no item" for name in found.extra_files)]
    hidden = found.num_problems - len(found.problems)
    if hidden:
        lines.append(f"... and {hidden} problems more")
    verdict = "sound" if found.sound else f"{found.num_problems + len(found.extra_files)} problems"
    return "\n".join([*lines, f"{found.folder}: {found.num_items} items, {found.num_files} files: {verdict}"])


def _print(text: str) -> None:
    print(text)  # noqa: T201


def _print_json(content: Any) -> None:
    _print(json.dumps(content, indent=2, sort_keys=True, default=str))
