"""The command that a stranger's data begins with."""

from pathlib import Path
from typing import Annotated

import typer

from d3s2.base.machine.signals import unwinding
from d3s2.commands.common import AsJson, Device, print_outcome


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of images and masks, in whatever layout.")],
    out: Annotated[Path, typer.Option(help="Where dataset.yaml, run.yaml and pairs.png go.")] = Path("."),
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
    as_json: AsJson = False,
) -> None:
    """Looks at a folder of data, and says what it found. Writes a data set file, a run file and a picture of pairs."""
    from d3s2.base.machine.runtime import pick_device
    from d3s2.planning import start
    from d3s2.terminal import progress_for_people

    with unwinding():
        started = start(folder, out, pick_device(device), overwrite=overwrite, progress=progress_for_people())
    run = next(path for path in started.files if path.name == "run.yaml")
    after = f"Next: look at pairs.png, correct what is wrong, then d3s2 evaluate {run} --dry-run"
    print_outcome(f"{started.as_text()}\n{after}", started.as_record(), as_json)
