"""How the networks of a generator run: their number format, and what saves memory or time."""

from typing import Any

import torch

from d3s2.generator.settings import ComputeSettings

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def prepared(network: Any, compute: ComputeSettings) -> Any:
    """The diffusion network or ControlNet as `compute` says."""
    if compute.channels_last:
        network.to(memory_format=torch.channels_last)
    if compute.attention_slicing:
        network.set_attention_slice("auto")
    if compute.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    if compute.compile:
        network.compile()
    return network
