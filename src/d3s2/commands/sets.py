"""The commands on distilled sets, and on the machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from d3s2.base.errors import UsageError
from d3s2.base.machine.signals import unwinding
from d3s2.commands.common import AsJson, Publish, print_outcome
from d3s2.store.exports import EXPORTS

if TYPE_CHECKING:
    from d3s2.store import Verification


def verify_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")], as_json: AsJson = False
) -> None:
    """Checks a distilled set: files, digests, labels, provenance."""
    from d3s2.store import verify
    from d3s2.terminal import progress_for_people

    with unwinding():
        found = verify(folder, progress=progress_for_people())
    print_outcome(_verified(found), {**asdict(found), "sound": found.sound}, as_json)
    if not found.sound:
        raise typer.Exit(1)


def join_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a run whose shares are done.")],
    publish: Publish = None,
    as_json: AsJson = False,
) -> None:
    """Finishes what processes with --shard made. Checks every item by its digest, and names what is missing."""
    from d3s2.base.formats.locks import locked
    from d3s2.pipeline.work import join_run

    with unwinding(), locked(folder):
        num_items = join_run(folder, publish)
    print_outcome(
        f"{folder}: {num_items} items; the set is finished", {"folder": folder, "num_items": num_items}, as_json
    )


def export_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a distilled set.")],
    to: Annotated[Path | None, typer.Option(help="Folder to write; for a copy on this machine.")] = None,
    format: Annotated[  # noqa: A002
        str, typer.Option(help=f"{', '.join(EXPORTS)}, or one of your own (docs/extending.md).")
    ] = "hf",
    push_to_hub: Annotated[
        str | None, typer.Option(help="Upload it as the data set OWNER/NAME of the Hugging Face hub, as hf.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Only its owner sees a data set that is made.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be uploaded; offline.")] = False,
    as_json: AsJson = False,
) -> None:
    """Writes a distilled set for other tools, or uploads it."""
    if (to is None) == (push_to_hub is None):
        raise UsageError("`d3s2 export`: give --to FOLDER, or --push-to-hub OWNER/NAME, and not both.")
    if push_to_hub is None and (private or dry_run):
        raise UsageError("`d3s2 export`: --private and --dry-run are for --push-to-hub OWNER/NAME; leave them out.")
    if push_to_hub is not None and format != "hf":
        raise UsageError(f"`d3s2 export`: --push-to-hub uploads hf, got --format {format}; leave --format out.")
    from d3s2.store import export, publish
    from d3s2.terminal import progress_for_people

    with unwinding():
        if push_to_hub is not None:
            progress = progress_for_people()
            upload = publish(folder, push_to_hub, private=private, dry_run=dry_run, progress=progress)
            print_outcome(upload.as_text, upload, as_json)
        elif to is not None:
            written = export(folder, to, format, progress_for_people())
            print_outcome(f"Written to {written}", {"folder": folder, "to": written, "format": format}, as_json)


def doctor(
    dataset: Annotated[str | None, typer.Option(help="Only this data set, by name or YAML file: is it whole?")] = None,
    root: Annotated[str | None, typer.Option(help="Folder of that data set, or its URL.")] = None,
    models: Annotated[
        bool,
        typer.Option(
            "--models", help="Only published models and recipes: licence, size, memory, hours, how to get them."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Says what this machine has, and what data and models lack."""
    if root is not None and dataset is None:
        raise UsageError("`d3s2 doctor`: --root is the folder of a data set; name it by --dataset too.")
    if models and dataset is not None:
        raise UsageError("`d3s2 doctor`: --models and --dataset print one thing each; give one of them.")
    from d3s2.planning import examine
    from d3s2.recipes import load_run, recipe_names
    from d3s2.terminal import progress_for_people

    with unwinding():
        recipes = {name: load_run(name) for name in recipe_names()} if models or as_json else {}
        found = examine(dataset, root, progress_for_people(), recipes)
    text = found.models_text if models else found.dataset_text if dataset is not None else found.as_text
    print_outcome(text, found, as_json)
    if not found.sound:
        raise typer.Exit(1)


def _verified(found: "Verification") -> str:
    lines = [*found.problems, *(f"{name}: belongs to no item" for name in found.extra_files)]
    hidden = found.num_problems - len(found.problems)
    if hidden:
        lines.append(f"... and {hidden} problems more")
    verdict = "sound" if found.sound else f"{found.num_problems + len(found.extra_files)} problems"
    return "\n".join([*lines, f"{found.folder}: {found.num_items} items, {found.num_files} files: {verdict}"])
