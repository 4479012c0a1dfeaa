"""Networks that score each pixel: SegFormer and UPerNet."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import SegformerForSemanticSegmentation, UperNetForSemanticSegmentation

from d3s2.base.errors import UsageError
from d3s2.nets.families.family import Family, Layer, listening
from d3s2.nets.inputs.resizing import resized
from d3s2.nets.trainable import mean_cross_entropy

STAGES = 4
AUXILIARY = {"auxiliary": Layer("auxiliary_head", lambda logits: logits)}


def pixel_scores(output: Any, size: tuple[int, int]) -> Float[Tensor, "b l h w"]:
    """The logits at the size of the images, as transformers' `post_process_semantic_segmentation` resizes them."""
    return _resized(output.logits, size)


def segformer_loss(
    network: Any, pixels: Float[Tensor, "b 3 y x"], masks: UInt8[Tensor, "b h w"]
) -> tuple[Float[Tensor, ""], Any]:
    """Cross entropy at the size of the masks."""
    output = network(pixels)
    return mean_cross_entropy(_resized(output.logits, masks.shape[-2:]), masks), output


def upernet_loss(
    network: Any, pixels: Float[Tensor, "b 3 y x"], masks: UInt8[Tensor, "b h w"]
) -> tuple[Float[Tensor, ""], Any]:
    """Cross entropy at the size of the masks, and the auxiliary head's with the weight that its config names.

    Raises:
        UsageError: a batch of one image, over which its batch normalisation has no spread.
    """
    if network.training and len(pixels) < 2:
        raise UsageError(
            "UPerNet normalises over the batch and cannot learn from one image; give batches of 2 or more."
        )
    with listening(network, AUXILIARY if network.auxiliary_head is not None else {}) as heard:
        output = network(pixels)
    loss = mean_cross_entropy(_resized(output.logits, masks.shape[-2:]), masks)
    for auxiliary in heard.values():
        share = network.config.auxiliary_loss_weight
        loss = loss + share * mean_cross_entropy(_resized(auxiliary, masks.shape[-2:]), masks)
    return loss, output


def _resized(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    return resized(logits.float(), (size[0], size[1]))


def _hidden(index: int) -> Callable[[Any], Tensor]:
    return lambda output: output.hidden_states[index]


def _stage(index: int) -> Callable[[Any], Tensor]:
    return lambda output: output.feature_maps[index]


BACKBONE_NAMES = tuple(f"backbone{index}" for index in range(STAGES))

SEGFORMER = Family(
    network=SegformerForSemanticSegmentation,
    processor="SegformerImageProcessor",
    divisor=1,
    backbone="segformer",
    layers={
        **{name: Layer("segformer", _hidden(index)) for index, name in enumerate(BACKBONE_NAMES)},
        "decoder": Layer("decode_head.activation", lambda output: output),
    },
    default_layers=(*BACKBONE_NAMES, "decoder"),
    scores=pixel_scores,
    loss=segformer_loss,
)

UPERNET = Family(
    network=UperNetForSemanticSegmentation,
    processor="SegformerImageProcessor",
    divisor=1,
    backbone="backbone",
    layers={
        **{name: Layer("backbone", _stage(index)) for index, name in enumerate(BACKBONE_NAMES)},
        "decoder": Layer("decode_head.fpn_bottleneck", lambda output: output),
    },
    default_layers=(*BACKBONE_NAMES, "decoder"),
    scores=pixel_scores,
    loss=upernet_loss,
)
