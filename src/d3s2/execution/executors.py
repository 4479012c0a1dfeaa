"""What runs the pieces of a step, by what the call asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from d3s2.execution.local import Local, num_workers, places_for
from d3s2.execution.pieces import Executor
from d3s2.execution.ray_actors import RayActors, ray_cluster
from d3s2.execution.settings import Execution
from d3s2.execution.shares import Shares


def executor_of(
    execution: Execution, folder: Path, device: torch.device, *, workers: int = 0, devices_each: int = 1
) -> Executor:
    """What runs the pieces of one step.

    Args:
        execution: what the call asked for.
        folder: that all processes of the run share.
        device: of this process.
        workers: where the call says nothing: 0 takes one a place.
        devices_each: of one worker.
    """
    places = places_for(device, devices_each)
    asked = execution.workers or workers
    if execution.executor == "ray":
        return RayActors(asked)
    if execution.share is not None:
        return Shares(execution.share, folder)
    return Local(places, num_workers(asked, places))


@contextmanager
def cluster_of(execution: Execution) -> Iterator[None]:
    """Within the block the cluster is joined that the call asked for, if any."""
    if execution.executor != "ray":
        yield
        return
    with ray_cluster(execution.address):
        yield
