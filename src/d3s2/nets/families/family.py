"""A network of transformers as `Segmenter` and `Trainable`: one class, and a record that says how families differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from d3s2.base.errors import ModelError
from d3s2.base.names import choose
from d3s2.nets.families.swin import forbid_fully
from d3s2.nets.labels import Groups, merge_scores
from d3s2.nets.preprocessing import Preprocessing
from d3s2.nets.segmenter import Segmentation
from d3s2.nets.trainable import BACKBONE_LR_SHARE, SoftTargets, group_parameters, with_soft


@dataclass(frozen=True)
class Layer:
    """Where in a network a feature map [b, c, h, w] is found: a submodule, and what to take of its output."""

    module: str
    pick: Callable[[Any], Tensor]


@dataclass(frozen=True)
class Family:
    """How one architecture of transformers keeps the contract.

    Args:
        network: its class in transformers, for semantic segmentation.
        processor: class name of its image processor.
        divisor: of the sides of its input, where its own files name none.
        backbone: dotted name of the pretrained part.
        layers: name -> feature map; the backbone's stages from fine to coarse, then the decoder.
        default_layers: those that are returned where none are chosen.
        scores: (output of the network, (height, width)) -> scores of all its labels at that size; their softmax over
            the labels is a distribution.
        loss: (network, preprocessed images, masks) -> training loss. None: it is not trained here.
    """

    network: Any
    processor: str
    divisor: int
    backbone: str
    layers: Mapping[str, Layer]
    default_layers: tuple[str, ...]
    scores: Callable[[Any, tuple[int, int]], Tensor]
    loss: Callable[[Any, Tensor, Tensor], Tensor] | None = None


class AdaptedSegmenter(nn.Module):
    """A `Segmenter` and `Trainable` over a network of transformers.

    Args:
        network: of `family.network`.
        groups: for each class, the network's labels that mean it.
        layers: names of feature maps to return. None: the family's default.

    Raises:
        UsageError: a layer is unknown.
    """

    def __init__(
        self,
        network: Any,
        family: Family,
        preprocessing: Preprocessing,
        groups: Groups,
        layers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        chosen = family.default_layers if layers is None else layers
        forbid_fully(network)
        self.network = network
        self.family = family
        self.preprocessing = preprocessing
        self.groups = groups
        self.num_classes = len(groups)
        self.layers = {name: choose(family.layers, name, f"layer of {family.network.__name__}") for name in chosen}

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Segmentation:
        with listening(self.network, self.layers) as heard:
            output = self.network(self.preprocessing(images))
        scores = self.family.scores(output, (images.shape[-2], images.shape[-1]))
        return Segmentation(
            scores=merge_scores(scores, self.groups), features={name: heard[name] for name in self.layers}
        )

    def loss(
        self, images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets | None = None
    ) -> Float[Tensor, ""]:
        name = self.family.network.__name__
        if self.family.loss is None:
            raise ModelError(f"{name} serves as a teacher only; train another architecture.")
        if self.groups != tuple((label,) for label in range(self.network.config.num_labels)):
            raise ModelError(f"{name}: labels are mapped to classes, so it cannot be trained on them; make a new one.")
        hard = self.family.loss(self.network, self.preprocessing(images), masks)
        # a family's own loss may not come from its scores, so soft labels take a pass of their own
        return hard if soft is None else with_soft(hard, self(images).scores, masks, soft)

    def parameter_groups(
        self, lr: float, weight_decay: float, backbone_share: float = BACKBONE_LR_SHARE
    ) -> list[dict[str, Any]]:
        return group_parameters(self.network, lr, weight_decay, self.family.backbone, backbone_share)


@contextmanager
def listening(network: nn.Module, layers: Mapping[str, Layer]) -> Iterator[dict[str, Tensor]]:
    """Yields a dict that one forward pass inside fills: layer name -> feature map."""
    heard: dict[str, Tensor] = {}
    hooks = []
    for name, layer in layers.items():

        def hear(_module: nn.Module, _inputs: Any, output: Any, name: str = name, layer: Layer = layer) -> None:
            heard[name] = layer.pick(output)

        hooks.append(network.get_submodule(layer.module).register_forward_hook(hear))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
