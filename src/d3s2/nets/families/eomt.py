"""EoMT: a plain vision transformer whose last blocks carry queries along, upon DINOv2 or DINOv3.

It takes squares of one size only (`nets.inputs.windows`), and predicts masks and a class for each, as Mask2Former does.

Source: arXiv 2503.19108.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import (
    DINOv3ViTConfig,
    DINOv3ViTModel,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
)

from d3s2.nets.families.family import Family, Layer, Pretrained
from d3s2.nets.families.mask import log_mass
from d3s2.nets.families.mask2former_loss import layers_loss
from d3s2.nets.inputs.resizing import resized

QUARTERS = 4
SHARED_SHAPE = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size", "num_register_tokens",
    "layerscale_value", "use_gated_mlp", "query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias",
)  # fmt: skip


def eomt_scores(output: Any, size: tuple[int, int]) -> Float[Tensor, "b l h w"]:
    """Log of the semantic mass; classes and masks meet at the size of the square, as in transformers."""
    masks = resized(output.masks_queries_logits.float(), size)
    return log_mass(output.class_queries_logits, masks, size)


def eomt_loss(
    network: Any, pixels: Float[Tensor, "b 3 s s"], masks: UInt8[Tensor, "b h w"]
) -> tuple[Float[Tensor, ""], Any]:
    """The weighted sum of class, mask and dice losses over all blocks that carry queries."""
    layers, output = _predictions(network, pixels)
    return layers_loss(network, layers, masks), output


def _predictions(network: Any, pixels: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Any]:
    """Class and mask logits after each block that carries queries, and the output, which has the last block's only."""
    heard: dict[str, list[Tensor]] = {"class_predictor": [], "mask_head": [], "upscale_block": []}
    hooks = []
    for part, outputs in heard.items():

        def hear(_module: nn.Module, _inputs: Any, output: Tensor, outputs: list[Tensor] = outputs) -> None:
            outputs.append(output)

        hooks.append(network.get_submodule(part).register_forward_hook(hear))
    try:
        output = network(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    layers = [
        (classes, torch.einsum("bqc, bchw -> bqhw", queries, cells))
        for classes, queries, cells in zip(*heard.values(), strict=True)
    ]
    return layers, output


def _block(quarter: int) -> Callable[[Any], str]:
    """The last block of a quarter of those before the queries come in."""

    def name(config: Any) -> str:
        plain = config.num_hidden_layers - config.num_blocks
        return f"layers.{max(0, plain * (quarter + 1) // QUARTERS - 1)}"

    return name


def patch_grid(tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b c s s"]:
    """The tokens of a square's patches as a map; class and register tokens stand before them and are left out."""
    side = math.isqrt(tokens.shape[1])
    return tokens[:, tokens.shape[1] - side**2 :].transpose(1, 2).unflatten(2, (side, side))


def _of_dinov3(config: Any) -> DINOv3ViTConfig:
    return DINOv3ViTConfig(**{name: getattr(config, name) for name in SHARED_SHAPE})


def _place_of_dinov3(name: str) -> str | None:
    if name == "embeddings.mask_token":  # serves DINOv3's own pretraining only
        return None
    return re.sub(r"^norm\.", "layernorm.", re.sub(r"^model\.layer\.", "layers.", name))


LAYERS = {
    **{f"backbone{quarter}": Layer(_block(quarter), patch_grid) for quarter in range(QUARTERS)},
    "decoder": Layer("upscale_block", lambda output: output),
}
DEFAULT_LAYERS = ("backbone3", "decoder")
"""All blocks have one grid; the last one before the queries has seen most."""


def _family(network: Any, pretrained: Pretrained | None = None) -> Family:
    return Family(
        network=network,
        processor="EomtImageProcessor",
        divisor=1,
        backbone=("embeddings", "layers", "layernorm"),
        layers=LAYERS,
        default_layers=DEFAULT_LAYERS,
        scores=eomt_scores,
        loss=eomt_loss,
        window_px=lambda config: int(config.image_size),
        pretrained=pretrained,
    )


EOMT = _family(EomtForUniversalSegmentation)
EOMT_DINOV3 = _family(EomtDinov3ForUniversalSegmentation, Pretrained(DINOv3ViTModel, _of_dinov3, _place_of_dinov3))
