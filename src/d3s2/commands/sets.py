"""The commands on distilled sets, and on the machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from d3s2.base.machine.signals import unwinding
from d3s2.commands.common import AsJson, print_json, print_text

if TYPE_CHECKING:
    from d3s2.store.verify import Verification


def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")], as_json: AsJson = False
) -> None:
    """Checks a distilled set: every file, digest, label value, provenance."""
    from d3s2.store.verify import verify
    from d3s2.terminal import progress_for_people

    with unwinding():
        found = verify(folder, progress=progress_for_people())
    if as_json:
        print_json({**asdict(found), "sound": found.sound})
    else:
        print_text(_verified(found))
    if not found.sound:
        raise typer.Exit(1)


def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")],
    to: Annotated[Path, typer.Option(help="Folder to write.")],
    format: Annotated[str, typer.Option(help="hf, ade20k, or one of your own (docs/extending.md).")] = "hf",  # noqa: A002
) -> None:
    """Writes a distilled set for `datasets.load_dataset` (hf) or for MMSegmentation and transformers (ade20k)."""
    from d3s2.store.export import export
    from d3s2.terminal import progress_for_people

    with unwinding():
        written = export(folder, to, format, progress_for_people())
    print_text(f"Written to {written}")


def doctor(
    dataset: Annotated[str | None, typer.Option(help="A data set to examine, by name or YAML file.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where it lies.")] = None,
    models: Annotated[
        bool, typer.Option("--models", help="Only the published models: licence, size, how to get them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What this machine has, which models and data are found, what is missing and how to get it."""
    from d3s2.planning.doctor import examine
    from d3s2.terminal import progress_for_people

    with unwinding():
        found = examine(dataset, root, progress_for_people())
    if as_json:
        print_json(asdict(found))
    else:
        print_text(found.models_text() if models else found.as_text())
    if not found.sound:
        raise typer.Exit(1)


def _verified(found: "Verification") -> str:
    lines = [*found.problems, *(f"{name}: belongs to no item" for name in found.extra_files)]
    hidden = found.num_problems - len(found.problems)
    if hidden:
        lines.append(f"... and {hidden} problems more")
    verdict = "sound" if found.sound else f"{found.num_problems + len(found.extra_files)} problems"
    return "\n".join([*lines, f"{found.folder}: {found.num_items} items, {found.num_files} files: {verdict}"])
