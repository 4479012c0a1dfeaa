"""A network of transformers as `Segmenter` and `Trainable`: one class, and a record that says how families differ."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.base.errors import D3S2Error, ModelError, out_of_memory
from d3s2.base.formats.json_text import shortened
from d3s2.base.names import choose
from d3s2.nets.families.swin import forbid_fully
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.inputs.resizing import resized
from d3s2.nets.inputs.windows import Windows
from d3s2.nets.labels import Groups, merge_scores
from d3s2.nets.segmenter import Segmentation
from d3s2.nets.trainable import BACKBONE_LR_SHARE, SoftTargets, group_parameters, with_soft

SMALLEST_MASS = 1e-20  # keeps the logarithm and its gradient finite in float32


@dataclass(frozen=True)
class Layer:
    """Where in a network a feature map [b, c, h, w] is found: a submodule, and what to take of its output.

    Args:
        module: dotted name of the submodule, or what gives it for a network's config.
        pick: output of the submodule -> feature map.
    """

    module: str | Callable[[Any], str]
    pick: Callable[[Any], Tensor]


@dataclass(frozen=True)
class Pretrained:
    """A network of its own whose weights become a backbone that is spread over the segmentation network.

    Args:
        network: its class in transformers.
        config: config of the segmentation network -> config of `network` in the same shape.
        rename: name of a weight there -> its name in the segmentation network; None for one that has no place there.
    """

    network: Any
    config: Callable[[Any], Any]
    rename: Callable[[str], str | None]


@dataclass(frozen=True)
class Family:
    """How one architecture of transformers keeps the contract.

    Args:
        network: its class in transformers, for semantic segmentation.
        processor: class name of its image processor.
        divisor: of the sides of its input, where its own files name none.
        backbone: dotted name of the pretrained part, or the names of its parts.
        layers: name -> feature map; the backbone's stages from fine to coarse, then the decoder.
        default_layers: those that are returned where none are chosen.
        scores: (output of the network, (height, width)) -> scores of all its labels at that size; their softmax over
            the labels is a distribution.
        loss: (network, preprocessed images, masks) -> training loss, and the network's output that it is of, as
            `scores` takes it. None: it is not trained here.
        window_px: config -> side of the only square that the network takes. None: it takes images of any size.
        inputs: folder of a network -> what its forward pass takes beside the image, each without the batch's axis.
        pretrained: where its backbone's weights come from, if not from a network like the backbone itself.
    """

    network: Any
    processor: str
    divisor: int
    backbone: str | tuple[str, ...]
    layers: Mapping[str, Layer]
    default_layers: tuple[str, ...]
    scores: Callable[[Any, tuple[int, int]], Tensor]
    loss: Callable[[Any, Tensor, Tensor], tuple[Tensor, Any]] | None = None
    window_px: Callable[[Any], int] | None = None
    inputs: Callable[[Path], Mapping[str, Tensor]] | None = None
    pretrained: Pretrained | None = None


class AdaptedSegmenter(nn.Module):
    """A `Segmenter` and `Trainable` over a network of transformers.

    Args:
        network: of `family.network`.
        groups: for each class, the network's labels that mean it.
        layers: names of feature maps to return. None: the family's default.
        inputs: what the network's forward pass takes beside the image, each without the batch's axis.

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
        inputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        chosen = family.default_layers if layers is None else layers
        forbid_fully(network)
        self.network = network
        self.family = family
        self.preprocessing = preprocessing
        self.groups = groups
        self.num_classes = len(groups)
        self._has_run = False
        self.layers = {name: choose(family.layers, name, f"layer of {family.network.__name__}") for name in chosen}
        self.input_names = tuple(inputs or ())
        for name, values in (inputs or {}).items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Segmentation:
        size = (images.shape[-2], images.shape[-1])
        pixels = self.preprocessing(images)
        windows = self._windows(pixels)
        seen = pixels if windows is None else windows.cut(pixels)
        with self._running(size), listening(self.network, self.layers) as heard:
            output = self.network(seen, **self._inputs(len(seen)))
            scores = self._scores(output, windows, size)
        features = heard if windows is None else {name: windows.merge(map_) for name, map_ in heard.items()}
        return Segmentation(scores=scores, features={name: features[name] for name in self.layers})

    def loss(
        self, images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets | None = None
    ) -> Float[Tensor, ""]:
        name = self.family.network.__name__
        if self.family.loss is None:
            raise ModelError(f"{name} serves as a teacher only; train another architecture.")
        if self.groups != tuple((label,) for label in range(self.network.config.num_labels)):
            raise ModelError(f"{name}: labels are mapped to classes, so it cannot be trained on them; make a new one.")
        pixels, wanted = self.preprocessing(images), masks
        windows = self._windows(pixels)
        if windows is not None and len(windows.starts) > 1:
            wanted = windows.cut(F.interpolate(masks[:, None], size=pixels.shape[-2:], mode="nearest-exact")[:, 0])
            pixels = windows.cut(pixels)
        size = (images.shape[-2], images.shape[-1])
        with self._running(size):
            hard, output = self.family.loss(self.network, pixels, wanted)
        return hard if soft is None else with_soft(hard, self._scores(output, windows, size), masks, soft)

    def parameter_groups(
        self, lr: float, weight_decay: float, backbone_share: float = BACKBONE_LR_SHARE
    ) -> list[dict[str, Any]]:
        return group_parameters(self.network, lr, weight_decay, self.family.backbone, backbone_share)

    @contextmanager
    def _running(self, size: tuple[int, int]) -> Iterator[None]:
        """Whatever the network raises before it has ever run is a fault of its config, whose numbers nothing checks."""
        try:
            yield
        except D3S2Error:
            raise
        except Exception as error:
            if self._has_run or out_of_memory(error):
                raise
            where = self.network.name_or_path or self.family.network.__name__
            raise ModelError(
                f"{where}: the network cannot be run on images of {size[0]} x {size[1]} px ({shortened(error)}); look "
                "at the numbers in its config.json, or get the files again."
            ) from error
        self._has_run = True

    def _scores(self, output: Any, windows: Windows | None, size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
        """Scores of the classes at the size of the images, from what the network says of them or of their windows."""
        scores = self.family.scores(output, size if windows is None else (windows.side, windows.side))
        return merge_scores(scores if windows is None else _merged(scores, windows, size), self.groups)

    def _windows(self, pixels: Tensor) -> Windows | None:
        return None if self.preprocessing.window_px is None else Windows(pixels.shape[-2], pixels.shape[-1])

    def _inputs(self, count: int) -> dict[str, Tensor]:
        """What the network takes beside `count` images."""
        return {name: self.get_buffer(name).expand(count, -1) for name in self.input_names}


def _merged(scores: Tensor, windows: Windows, size: tuple[int, int]) -> Tensor:
    """Scores of windows -> those of the images: the windows' distributions are averaged, then brought to `size`."""
    if len(windows.starts) == 1 and size == (windows.side, windows.side):
        return scores
    mass = resized(windows.merge(scores.exp()), size)
    return mass.clamp(min=SMALLEST_MASS).log()


@contextmanager
def listening(network: nn.Module, layers: Mapping[str, Layer]) -> Iterator[dict[str, Tensor]]:
    """Yields a dict that one forward pass inside fills: layer name -> feature map."""
    heard: dict[str, Tensor] = {}
    hooks = []
    for name, layer in layers.items():

        def hear(_module: nn.Module, _inputs: Any, output: Any, name: str = name, layer: Layer = layer) -> None:
            heard[name] = layer.pick(output)

        module = layer.module if isinstance(layer.module, str) else layer.module(network.config)
        hooks.append(network.get_submodule(module).register_forward_hook(hear))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()
