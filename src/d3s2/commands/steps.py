"""The commands that take one step of a run."""

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
    config_of,
    execution_of,
    opened_run,
    print_outcome,
    print_share,
)


def census_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    as_json: AsJson = False,
) -> None:
    """Counts the pixels of each class in each mask."""
    with opened_run(config_of(recipe, overrides, None), out, None) as run:
        census = run.count_masks()
    counts = dict(zip(census.class_names, (int(count) for count in census.images_per_class), strict=True))
    lines = [
        f"{name:<24} {count:>8} masks  {100 * count / len(census.ids):6.2f} %"
        for name, count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]
    print_outcome("\n".join(lines), {"masks": len(census.ids), "masks_per_class": counts}, as_json)


def select_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    seed: Seed = None,
    show: Annotated[bool, typer.Option("--explain", help="For each mask the class it was taken for.")] = False,
    as_json: AsJson = False,
) -> None:
    """Chooses the masks, and prints their ids."""
    config = config_of(recipe, overrides, seed)
    from d3s2.pipeline import select_run
    from d3s2.selection import explain

    with opened_run(config, out, None) as run:
        selection = select_run(run)
    print_outcome(explain(selection) if show else "\n".join(selection.ids), selection, as_json)


def fit_command(
    recipe: Recipe,
    overrides: Overrides = None,
    out: Out = Path("runs/run"),
    device: Device = None,
    seed: Seed = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in float16, as shipped weights are.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Fits teacher, feature bank and generator. On several GPUs: torchrun -m d3s2.cli fit ..."""
    config = config_of(recipe, overrides, seed)
    from d3s2.base.machine.runtime import is_first_process, pick_device
    from d3s2.pipeline.fitting import fit_everything
    from d3s2.planning import make_plan

    if dry_run:
        plan = make_plan(config, pick_device(device), ("fit",))
        print_outcome(plan.as_text, plan, as_json)
        return
    with opened_run(config, out, device, joined=True) as run:
        fit_everything(run, half=half)
    if is_first_process():
        print_outcome(f"Models are in {run.models}", {"folder": out, "models": run.models}, as_json)


def synthesize_command(
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
    as_json: AsJson = False,
) -> None:
    """Makes the images for the chosen masks."""
    config = config_of(recipe, overrides, seed)
    from d3s2.pipeline import distill_run

    execution = execution_of(executor, workers, address, shard, publish)
    with opened_run(config, out, device, execution=execution) as run:
        distill_run(run)
    if execution.share is not None:
        print_share(out, execution, as_json)
    else:
        print_outcome(f"The distilled set is in {out}", {"folder": out}, as_json)


def report_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")], device: Device = None, as_json: AsJson = False
) -> None:
    """Writes report.html again, from what is in the folder of a run."""
    from d3s2.base.machine.runtime import pick_device
    from d3s2.pipeline import write_report
    from d3s2.terminal import progress_for_people

    with unwinding():
        page = write_report(folder, pick_device(device), progress_for_people())
    print_outcome(f"The page is {page}", {"folder": folder, "page": page}, as_json)
