"""A run as a worker has it."""

from dataclasses import replace

import torch

from d3s2.base.progress import SILENT
from d3s2.execution import Execution, Needs
from d3s2.pipeline.run import Run


def worker_run(run: Run) -> Run:
    """The run for another process: it says nothing, works by itself, and takes the GPU that it is given."""
    return replace(
        run, device=torch.device(run.device.type), progress=SILENT, execution=Execution(publish=run.execution.publish)
    )


def needs_of(device: torch.device) -> Needs:
    """One GPU a worker where the run is on GPUs."""
    return Needs(num_gpus=int(device.type == "cuda"))


def workers_for_models(run: Run) -> int:
    """Of workers that hold the models: one a GPU; on a CPU one, which uses all cores."""
    return 1 if run.device.type == "cpu" and run.execution.executor == "local" else 0
