"""The method as a library: what the command line does, with plain arguments, results as records."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from d3s2.base.errors import out_of_memory
from d3s2.base.formats.locks import taken
from d3s2.base.machine.launch import meeting
from d3s2.base.machine.runtime import is_first_process, pick_device, within_cores
from d3s2.base.progress import SILENT, Progress
from d3s2.execution import HERE, Execution, cluster_of
from d3s2.pipeline import Run, RunConfig, distill_run, evaluate_run, open_run, select_run
from d3s2.pipeline import write_report as page_of_run
from d3s2.recipes import load_run
from d3s2.results import Results
from d3s2.selection import Selection
from d3s2.store import DistilledSet

Recipe = str | RunConfig


def select(recipe: Recipe, *, out: Path | str, overrides: Sequence[str] = (), progress: Progress = SILENT) -> Selection:
    """Census and choice of masks.

    Args:
        recipe: name of a recipe, path of a YAML file, or a config.
        out: folder of the run; an existing run is resumed.
        overrides: 'key=value' strings, for example 'select.ratio=0.05'.

    Raises:
        D3S2Error: see d3s2.base.errors.

    Examples:
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> selection = d3s2.select("scenes", out="runs/small", overrides=small)
        >>> len(selection.ids)
        4
    """
    with opened(recipe, out, overrides, "cpu", progress) as run:
        return select_run(run)


def distill(
    recipe: Recipe,
    *,
    out: Path | str,
    overrides: Sequence[str] = (),
    device: str | None = None,
    progress: Progress = SILENT,
    execution: Execution = HERE,
) -> DistilledSet:
    """Census, select, fit or load, synthesize; arguments as for `select`, `device` as for torch.

    Args:
        execution: where the pieces of work are done (`d3s2.execution.settings`); not for a share of them, whose set
            only `d3s2 join` finishes.

    Examples:
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> distilled = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> distilled.image(distilled.ids[0]).shape
        (64, 96, 3)
    """
    with opened(recipe, out, overrides, device, progress, execution=execution) as run:
        distill_run(run)
    return DistilledSet(Path(out))


def evaluate(
    recipe: Recipe,
    *,
    out: Path | str,
    overrides: Sequence[str] = (),
    device: str | None = None,
    progress: Progress = SILENT,
    execution: Execution = HERE,
) -> Results:
    """Students on every set of the recipe, after distilling where that is not done; arguments as for `distill`.

    Examples:
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> sets = ["evaluate.sets=[random, distilled]"]
        >>> students = ["evaluate.seeds=1", "evaluate.train.iterations=2", "evaluate.workers=1"]
        >>> results = d3s2.evaluate("scenes", out="runs/small", overrides=[*small, *sets, *students])
        >>> [(row.name, row.items) for row in results.sets]
        [('random', 4), ('distilled', 4)]
    """
    with opened(recipe, out, overrides, device, progress, execution=execution) as run:
        return evaluate_run(run)


def write_report(folder: Path | str, *, device: str | None = None, progress: Progress = SILENT) -> Path:
    """Writes the page of a run again; returns its path.

    Examples:
        >>> import d3s2
        >>> small = ["data.options={count: 40}", "select.ratio=0.1", "synthesize.steps=4"]
        >>> distilled = d3s2.distill("scenes", out="runs/small", overrides=small)
        >>> d3s2.write_report("runs/small").as_posix()
        'runs/small/report.html'
    """
    return page_of_run(Path(folder), pick_device(device), progress)


@contextmanager
def opened(
    recipe: Recipe,
    out: Path | str,
    overrides: Sequence[str],
    device: str | None,
    progress: Progress,
    *,
    joined: bool = False,
    execution: Execution = HERE,
) -> Iterator[Run]:
    """The run in the folder `out`, held for this process; where `joined`, for those too that were launched with it."""
    config = recipe if isinstance(recipe, RunConfig) else load_run(recipe, overrides)
    try:
        with _opened(config, Path(out), pick_device(device), progress, joined, execution) as run:
            yield run
    except Exception as error:
        named = out_of_memory(error)
        if named is None:
            raise
        raise named from None


@contextmanager
def _opened(
    config: RunConfig, out: Path, device: torch.device, progress: Progress, joined: bool, execution: Execution
) -> Iterator[Run]:
    with within_cores(progress), meeting(device) if joined else nullcontext():
        if joined and not is_first_process():
            yield Run(config, out, device, progress)
            return
        with taken(out, execution.share_name), cluster_of(execution):
            yield open_run(config, out, device, progress, execution=execution)
