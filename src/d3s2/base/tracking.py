"""The losses of trainings in TensorBoard, by accelerate's tracker; where `D3S2_TRACKER=tensorboard` asks for it.

The environment reaches every process that trains, and no result depends on what it says.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from d3s2.base.errors import UsageError
from d3s2.base.names import choose

VARIABLE = "D3S2_TRACKER"
TRACKERS = {"tensorboard": "TensorBoardTracker"}
"""Package -> accelerate's class, which is imported where a training begins: it brings torch with it."""


def tracker_name() -> str | None:
    """The tracker that is asked for; None where none is.

    Raises:
        UsageError: it is unknown, or its package is missing.
    """
    name = os.environ.get(VARIABLE) or None
    if name is not None:
        choose(TRACKERS, name, f"tracker in {VARIABLE}")
        if find_spec(name) is None:
            raise UsageError(f"{VARIABLE} is {name}, whose package is missing; pip install 'd3s2[{name}]' or unset it.")
    return name


@contextmanager
def tracked(path: Path | None, first: int) -> Iterator[Callable[[int, float], None]]:
    """Yields what is told (number of a step, from 1; its loss), and keeps it where a tracker is asked for.

    Args:
        path: of a file beside which the tracker's folder lies, named as it with the tracker as its suffix; None for
            who keeps nothing.
        first: steps that were done before. What was told of later ones is told again.
    """
    name = tracker_name()
    if name is None or path is None:
        yield lambda step, loss: None
        return
    from accelerate import PartialState, tracking

    PartialState()  # accelerate's logging asks for it
    folder = path.with_suffix(f".{name}")
    tracker = getattr(tracking, TRACKERS[name])(folder.name, folder.parent, purge_step=first + 1)
    tracker.main_process_only = False  # of several processes that train together one calls this
    tracker.start()
    try:
        yield lambda step, loss: tracker.log({"loss": loss}, step=step)
    finally:
        tracker.finish()
