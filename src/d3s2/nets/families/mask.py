"""Networks that predict masks and a class for each: Mask2Former and MaskFormer.

| name    | symbol                          | meaning                                             |
|---------|---------------------------------|-----------------------------------------------------|
| classes | p_q(c)                          | class probabilities of query q, "no object" left out |
| masks   | m_q[h, w]                       | probability that a pixel belongs to query q          |
| mass    | P(c)[h, w] = sum_q p_q(c) m_q   | semantic mass; scores are log P, and softmax(log P) = P / sum P |

Source: arXiv 2107.06278, section 3.4 (semantic inference); arXiv 2112.01527.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Mask2FormerForUniversalSegmentation, MaskFormerForInstanceSegmentation

from d3s2.base.machine.runtime import unreduced
from d3s2.nets.families.family import SMALLEST_MASS, Family, Layer
from d3s2.nets.families.mask2former_loss import mask2former_loss
from d3s2.nets.inputs.resizing import resized

MASK_GRID_PX = (384, 384)
"""Where transformers' post-processing of Mask2Former, whatever the size of the input, multiplies classes and masks."""

ENCODER = "model.pixel_level_module.encoder"
DECODER = "model.pixel_level_module.decoder"
STAGES = 4


def mask2former_scores(output: Any, size: tuple[int, int]) -> Float[Tensor, "b l h w"]:
    """Log of the semantic mass, argmax equal to transformers' `post_process_semantic_segmentation`."""
    logits = resized(output.masks_queries_logits.float(), MASK_GRID_PX)
    return log_mass(output.class_queries_logits, logits, size)


def maskformer_scores(output: Any, size: tuple[int, int]) -> Float[Tensor, "b l h w"]:
    """Log of the semantic mass, argmax equal to transformers' `post_process_semantic_segmentation`."""
    return log_mass(output.class_queries_logits, output.masks_queries_logits.float(), size)


def log_mass(
    class_logits: Float[Tensor, "b q k"], mask_logits: Float[Tensor, "b q y x"], size: tuple[int, int]
) -> Float[Tensor, "b l h w"]:
    """Log of the semantic mass of queries, at `size`; the last class of `class_logits` is "no object"."""
    classes, masks = class_logits.float().softmax(dim=-1)[..., :-1], mask_logits.sigmoid()
    # product over queries and resizing over pixels are linear and commute; the product goes where pixels are fewer
    smaller = size[0] * size[1] < masks.shape[-2] * masks.shape[-1]
    if smaller:
        masks = resized(masks, size)
    with unreduced(mask_logits.device):
        mass = torch.einsum("bqc, bqhw -> bchw", classes, masks)
    if not smaller:
        mass = resized(mass, size)
    return mass.clamp(min=SMALLEST_MASS).log()


def _stage(index: int) -> Callable[[Any], Tensor]:
    return lambda output: output.feature_maps[index]


def _scale(index: int) -> Callable[[Any], Tensor]:
    return lambda output: output.multi_scale_features[index]


BACKBONE_LAYERS = {f"backbone{index}": Layer(ENCODER, _stage(index)) for index in range(STAGES)}

MASK2FORMER = Family(
    network=Mask2FormerForUniversalSegmentation,
    processor="Mask2FormerImageProcessor",
    divisor=32,
    backbone=ENCODER,
    layers={
        **BACKBONE_LAYERS,
        "decoder": Layer(DECODER, lambda output: output.mask_features),
        # the pixel decoder's other scales, from fine to coarse
        **{f"decoder{index}": Layer(DECODER, _scale(-index)) for index in (1, 2, 3)},
    },
    default_layers=(*BACKBONE_LAYERS, "decoder"),
    scores=mask2former_scores,
    loss=mask2former_loss,
)

MASKFORMER = Family(
    network=MaskFormerForInstanceSegmentation,
    processor="MaskFormerImageProcessor",
    divisor=32,
    backbone=ENCODER,
    layers={**BACKBONE_LAYERS, "decoder": Layer(DECODER, lambda output: output.last_hidden_state)},
    default_layers=(*BACKBONE_LAYERS, "decoder"),
    scores=maskformer_scores,
)
