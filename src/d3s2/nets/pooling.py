"""One vector an image: a network's deepest feature map, averaged over a coarse grid."""

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.errors import ModelError
from d3s2.nets.segmenter import Segmenter

GRID = 2  # cells along each side: what is in the picture, and roughly where


def deepest_layer(features: Mapping[str, Tensor]) -> str:
    """The layer with the fewest cells, the first of several; raises ModelError where a network shows none."""
    if not features:
        raise ModelError("The network returns no features; give one that names layers (docs/networks.md).")
    return min(features, key=lambda name: features[name].shape[-2:].numel())


def pooled_features(net: Segmenter, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """A vector for each image in 0..1: means of the deepest layer's channels over `GRID` x `GRID` cells."""
    features = net(images).features
    return F.adaptive_avg_pool2d(features[deepest_layer(features)].float(), GRID).flatten(1)
