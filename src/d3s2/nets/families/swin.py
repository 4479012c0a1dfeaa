"""Swin's shifted windows without subnormal numbers, which a CPU multiplies a hundred times more slowly.

transformers forbids attention between the parts of a shifted window by adding -100 to the scores. In float32 exp(-100)
is not 0 but 4e-44: a probability, and in the backward pass whole rows of gradients, that no result shows and that take
most of a layer's time. A mask a hundred times as deep gives 0.
"""

from typing import Any

from torch import nn
from transformers.models.maskformer.modeling_maskformer_swin import MaskFormerSwinAttention
from transformers.models.swin.modeling_swin import SwinAttention

DEEPER = 100.0


def forbid_fully(network: nn.Module) -> None:
    """Makes what a window's mask forbids have a probability of exactly 0; a network without Swin stays as it is."""
    for module in network.modules():
        if isinstance(module, (SwinAttention, MaskFormerSwinAttention)):
            module.register_forward_pre_hook(_deepened)


def _deepened(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    hidden, *others = inputs
    mask = others[0] if others else None
    return inputs if mask is None else (hidden, DEEPER * mask, *others[1:])
