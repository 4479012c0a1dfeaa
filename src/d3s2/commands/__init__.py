"""The commands of `d3s2`. Each imports its work when it begins, so that help and a mistyped name answer at once."""

from collections.abc import Callable
from typing import Annotated

import typer

import d3s2
from d3s2.commands import examples, init, runs, sets, steps
from d3s2.commands.common import print_text

app = typer.Typer(
    name="d3s2",
    help="Distils a segmentation data set into a small synthetic one.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Begin with d3s2 demo --dry-run; for your own data, d3s2 init FOLDER. d3s2 COMMAND --help has examples.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": runs.demo,
    "init": init.init,
    "distill": runs.distill,
    "evaluate": runs.evaluate_command,
    "ablate": runs.ablate_command,
    "census": steps.census_command,
    "select": steps.select_command,
    "fit": steps.fit_command,
    "synthesize": steps.synthesize_command,
    "report": steps.report_command,
    "join": sets.join_command,
    "verify": sets.verify_command,
    "export": sets.export_command,
    "doctor": sets.doctor,
}
"""In the order of `d3s2 --help`."""

for name, command in COMMANDS.items():
    app.command(name=name, epilog=examples.shown(name))(command)


@app.callback(invoke_without_command=True)
def about(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Distils a segmentation data set into a small synthetic one."""
    if version:
        print_text(f"d3s2 {d3s2.__version__}")
        raise typer.Exit
