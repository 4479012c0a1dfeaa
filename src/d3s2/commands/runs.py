"""The commands that take a whole run from data to page."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from d3s2.base.machine.signals import unwinding
from d3s2.commands.common import (
    Address,
    AsJson,
    Device,
    DryRun,
    Executor,
    Out,
    Overrides,
    Publish,
    Recipe,
    Seed,
    Shard,
    Workers,
    called,
    config_of,
    execution_of,
    opened_run,
    print_outcome,
    print_share,
)
from d3s2.execution import HERE, Execution
from d3s2.pipeline import AXES, plan_variants


def demo(
    out: Out = Path("runs/demo"),
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit teacher and generator anew; --dry-run says how long.")
    ] = False,
    device: Device = None,
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Runs the whole method offline on `scenes`, in minutes. It ends with a page to look at."""
    overrides = ["teacher.source=null", "generator.model=null"] if fit else []
    _work("scenes", overrides, out, device, seed, dry_run, as_json, ("distill", "evaluate"))


def distill(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    executor: Executor = "local",
    workers: Workers = 0,
    address: Address = None,
    shard: Shard = None,
    publish: Publish = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Makes the distilled set. Counts and chooses masks, fits or loads models, makes images."""
    execution = execution_of(executor, workers, address, shard, publish)
    _work(recipe, overrides, out, device, seed, dry_run, as_json, ("distill",), execution)


def evaluate_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    executor: Executor = "local",
    workers: Workers = 0,
    address: Address = None,
    shard: Shard = None,
    publish: Publish = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Trains students on distilled and real sets, and compares. Distils first where needed."""
    execution = execution_of(executor, workers, address, shard, publish)
    _work(recipe, overrides, out, device, seed, dry_run, as_json, ("distill", "evaluate"), execution)


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
    executor: Executor = "local",
    workers: Workers = 0,
    address: Address = None,
    shard: Shard = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compares variants of one run in one table. The variants share fitted models."""
    config = config_of(recipe, overrides, seed)
    variants = plan_variants(config, axis or (), vary or ())
    from d3s2.base.formats.locks import taken
    from d3s2.base.machine.runtime import pick_device, within_cores
    from d3s2.execution import cluster_of
    from d3s2.pipeline import Grid, ablate_grid, share_grid
    from d3s2.planning import plan_ablation
    from d3s2.report import ablation_table, to_markdown
    from d3s2.terminal import progress_for_people

    execution = execution_of(executor, workers, address, shard)
    grid, chosen = Grid(config, variants, split, execution), pick_device(device)
    if dry_run:
        plan = plan_ablation(grid, chosen)
        print_outcome(plan.as_text, plan, as_json)
        return
    progress = progress_for_people()
    with unwinding(), taken(out, execution.share_name), within_cores(progress), cluster_of(execution):
        if execution.share is not None:
            made = share_grid(grid, out, chosen, progress)
            record = {"folder": out, "share": str(execution.share), "made": str(made)}
            print_outcome(f"Share {execution.share} of the {made} in {out} is done.", record, as_json)
            return
        found = ablate_grid(grid, out, chosen, progress, called())
    table = to_markdown(ablation_table(found))
    print_outcome(f"{table}\nThe tables are {out}/ablation-{split}.*", found, as_json)


def _work(
    recipe: str,
    overrides: list[str] | None,
    out: Path,
    device: str | None,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
    parts: tuple[str, ...],
    execution: Execution = HERE,
) -> None:
    config = config_of(recipe, overrides, seed)
    from d3s2.base.machine.runtime import pick_device, stopwatch
    from d3s2.execution import log_path
    from d3s2.pipeline import distill_run, evaluate_run, write_report
    from d3s2.pipeline.work import do_share
    from d3s2.planning import make_plan
    from d3s2.report import results_table, to_markdown

    if dry_run:
        plan = make_plan(config, pick_device(device), parts)
        print_outcome(plan.as_text, plan, as_json)
        return
    with opened_run(config, out, device, execution=execution) as run, stopwatch() as watch:
        if execution.share is not None:
            do_share(run, parts)
            print_share(out, execution, as_json)
            return
        results = None
        if "evaluate" in parts:
            results = evaluate_run(run, called())
        else:
            distill_run(run)
        page = write_report(run.folder, run.device, run.progress)
    table = to_markdown(results_table(results)) + "\n" if results is not None else ""
    text = f"{table}Done in {watch.wall_s / 60:.1f} minutes. The page is {page}, the log {log_path(out)}"
    record = {"folder": out, "page": page, "log": log_path(out), "wall_s": round(watch.wall_s, 1)}
    print_outcome(text, record | {"results": results and asdict(results)}, as_json)
