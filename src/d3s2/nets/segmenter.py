"""The one contract of a segmentation network, as teacher and as student."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Segmentation:
    """What a network says of a batch of images.

    Args:
        scores: per-pixel class scores; their softmax over c is a distribution. At the size of the images.
        features: layer name -> activations, for feature matching.
    """

    scores: Float[Tensor, "b c h w"]
    features: Mapping[str, Tensor]


@runtime_checkable
class Segmenter(Protocol):
    """Images to scores and features; carries its own preprocessing.

    `num_classes` are those of the label space, in its order.
    """

    num_classes: int

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Segmentation:
        """Segments RGB images in 0..1, differentiably."""
