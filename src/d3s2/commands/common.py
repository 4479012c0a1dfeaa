"""What the commands share: their options, the run that they work on, and how they print."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from d3s2.base.machine.signals import unwinding
from d3s2.execution import HERE, Execution, share_of
from d3s2.pipeline import RunConfig
from d3s2.recipes import load_run

if TYPE_CHECKING:
    from d3s2.pipeline import Run

Recipe = Annotated[str, typer.Argument(help="Name of a recipe (scenes, camvid, ccp ...) or path of a run.yaml.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes of the config, for example select.ratio=0.05 data.root=DIR.")
]
Out = Annotated[Path, typer.Option(help="Folder of the run; an existing run is resumed.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ...; default: the best there is.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the run; default: the recipe's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print the plan: items, steps, estimated time, disk.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as one JSON object on standard output.")]

Executor = Annotated[
    str, typer.Option(help="Where pieces of work are done: local (this machine) or ray (needs d3s2[ray]).")
]
Workers = Annotated[int, typer.Option(help="Workers side by side; 0: one a GPU, on a CPU what suits the step.")]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join ('auto': the one of this machine); default: start one here.")
]
Shard = Annotated[
    str | None, typer.Option(help="Do share i/n, beside others in one folder; default: of a Slurm array; 1/1: all.")
]
Publish = Annotated[str | None, typer.Option(help="Folder or URL to copy each item to when it is finished.")]


def execution_of(
    executor: str = "local",
    workers: int = 0,
    address: str | None = None,
    shard: str | None = "1/1",
    publish: str | None = None,
) -> Execution:
    """Where a call has its pieces done."""
    return Execution(executor, workers, address, share_of(shard), publish)


@contextmanager
def opened_run(
    config: RunConfig, out: Path, device: str | None, joined: bool = False, execution: Execution = HERE
) -> "Iterator[Run]":
    """The run in the folder `out`, locked for this process; the main process alone reports on standard error."""
    from d3s2.api import opened
    from d3s2.base.machine.runtime import is_first_process
    from d3s2.base.progress import SILENT
    from d3s2.terminal import progress_for_people

    progress = progress_for_people() if is_first_process() else SILENT
    with unwinding(), opened(config, out, (), device, progress, joined=joined, execution=execution) as run:
        yield run


def config_of(recipe: str, overrides: list[str] | None, seed: int | None) -> RunConfig:
    """The config that a command was asked for."""
    return load_run(recipe, [*(overrides or []), *([f"seed={seed}"] if seed is not None else [])])


def print_share(out: Path, execution: Execution, as_json: bool) -> None:
    """The outcome of a share of a run's work."""
    from d3s2.execution import log_path

    share, log = execution.share, log_path(out, execution.share)
    record = {"folder": out, "share": str(share), "log": log}
    print_outcome(f"Share {share} of {out} is done. The log is {log}", record, as_json)


def called() -> str:
    """This very command, for the record of what it made."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def print_text(text: str) -> None:
    """For people, on standard output."""
    print(text)  # noqa: T201


def print_outcome(text: str | Callable[[], str], record: Any, as_json: bool) -> None:
    """The outcome of a command on standard output: for people, or with --json as one JSON object and nothing else.

    Args:
        text: or what makes it, where that takes work.
        record: the same for programs: a record, a mapping, or paths and numbers in one.
    """
    if as_json:
        content = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
        print_text(json.dumps(content, indent=2, sort_keys=True, default=str))
    else:
        print_text(text if isinstance(text, str) else text())
