"""Weights that stay in main memory: a layer's come to the device for its own forward pass, and are dropped after it.

For text encoders. They are asked once a batch and are idle in all steps of sampling, and that of Stable Diffusion 3 and
FLUX (T5-XXL, 4.8 billion weights) is as large as what samples.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
Table = dict[str, Tensor | None]


def offloaded(network: Network, device: torch.device) -> Network:
    """The network, which computes on `device` from now on: the same numbers as if it lay there.

    diffusers' group offloading would copy every weight back as well; frozen ones need not be.

    Args:
        network: frozen, in main memory. After `network.to(device)` nothing travels any more.
        device: where its inputs are; with the CPU nothing is done.
    """
    if device.type == "cpu":
        return network
    for layer in network.modules():
        tables: tuple[Table, ...] = (layer._parameters, layer._buffers)  # type: ignore[assignment]
        if any(tables):
            left: list[Table] = []
            layer.register_forward_pre_hook(partial(_bring, tables, left, device))
            layer.register_forward_hook(partial(_drop, tables, left), always_call=True)
    return network


def _bring(tables: Sequence[Table], left: list[Table], device: torch.device, layer: nn.Module, inputs: Any) -> None:
    left[:] = [dict(table) for table in tables]
    for table in tables:
        table.update({name: None if tensor is None else tensor.to(device) for name, tensor in table.items()})


def _drop(tables: Sequence[Table], left: list[Table], layer: nn.Module, inputs: Any, output: Any) -> None:
    for table, before in zip(tables, left, strict=True):
        table.update(before)
    left.clear()
