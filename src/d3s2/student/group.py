"""The processes that train one student together, each on its rows of every batch; accelerate joins them.

| name  | meaning                                                                       |
|-------|-------------------------------------------------------------------------------|
| index | of this process, from 0; the first one writes files                           |
| size  | number of processes, one a GPU (NCCL), or several on a CPU (gloo)             |

Gradients are averaged by DistributedDataParallel. Batch normalisation sees the rows of all processes on GPUs
(SyncBatchNorm); on a CPU, for which torch has none, those of its own process, as it does with `accumulate`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from jaxtyping import Int64
from torch import Tensor, nn

from d3s2.nets import Network


@dataclass(frozen=True)
class Group:
    """What a process knows of those that it trains with.

    Args:
        accelerator: None where it trains alone, whatever else was launched beside it.
    """

    accelerator: Accelerator | None = None

    @property
    def index(self) -> int:
        """The place of this process in the group."""
        return 0 if self.accelerator is None else int(self.accelerator.process_index)

    @property
    def size(self) -> int:
        """How many processes there are."""
        return 1 if self.accelerator is None else int(self.accelerator.num_processes)

    def rows(self, batch: int) -> slice:
        """This process's rows of a batch that divides by `size`."""
        share = batch // self.size
        return slice(self.index * share, (self.index + 1) * share)

    def joined(self, net: Network) -> nn.Module:
        """A module that gives the loss of `net`; the gradients that it leaves are means over the processes."""
        if self.accelerator is None:
            return _Loss(net)
        if self.accelerator.device.type != "cpu":
            nn.SyncBatchNorm.convert_sync_batchnorm(net)
        model: nn.Module = self.accelerator.prepare(_Loss(net))
        return model

    def exchange(self, model: nn.Module, now: bool) -> AbstractContextManager[None]:
        """For a forward and a backward pass: whether its gradients go to the other processes, or wait for the next."""
        if self.accelerator is None or now:
            return nullcontext()
        quiet: AbstractContextManager[None] = self.accelerator.no_sync(model)
        return quiet

    def share_buffers(self, net: nn.Module) -> None:
        """Gives all processes the first one's running statistics, which are no gradients and differ on a CPU."""
        if self.accelerator is not None:
            broadcast([*net.buffers()])

    def sum(self, counts: Int64[np.ndarray, "..."]) -> Int64[np.ndarray, "..."]:
        """Integer counts summed over the processes."""
        if self.accelerator is None:
            return counts
        here = torch.from_numpy(counts).to(self.accelerator.device)
        summed: Tensor = self.accelerator.reduce(here, reduction="sum")
        return summed.cpu().numpy()


ALONE = Group()


@contextmanager
def launched_group(device: torch.device) -> Iterator[Group]:
    """The group of processes that a launcher started with this one; `device` is this one's own."""
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="no",  # the trainer casts and scales itself, alone as in a group
        device_placement=False,
        # networks of transformers have weights that serve other outputs than those that are trained
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    try:
        yield Group(accelerator)
    finally:
        accelerator.end_training()


class _Loss(nn.Module):
    """DistributedDataParallel listens to `forward` only."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, *batch: Any) -> Tensor:
        return self.net.loss(*batch)
