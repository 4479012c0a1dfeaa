"""The compact U-Net on disk, and seen through a choice of layers, classes and size."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers.utils import CONFIG_NAME

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import write_json, writing
from d3s2.base.formats.records import read_record
from d3s2.base.names import choose
from d3s2.hub import load_weights, require_all_weights, require_finite
from d3s2.nets.compact.unet import NUM_LEVELS, CompactUNet
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.inputs.resizing import resized
from d3s2.nets.labels import Groups, merge_scores
from d3s2.nets.segmenter import Segmentation

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
CLASSES_NAME = "classes.json"
LAYERS = (
    *(f"down{level}" for level in range(NUM_LEVELS)),
    *(f"up{level}" for level in reversed(range(NUM_LEVELS - 1))),
)

DEFAULT_LAYERS = ("down1", "down2", "down3", "up1")
"""Whose features are matched where none are chosen: neither the finest, nor what repeats the scores."""


TRAIN_AGAIN = "get the folder again, or train this network again"


class ShapeRecord(BaseModel):
    """What config.json of a compact U-Net says; the bounds are far beyond what anyone trains."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    num_classes: Annotated[int, Field(ge=1, le=255)]
    width: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 16


class ClassesRecord(BaseModel):
    """What classes.json says."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    class_names: tuple[str, ...]


class CompactView(nn.Module):
    """A compact U-Net as a `Segmenter` of other layers, other classes or another size.

    Args:
        layers: names of the feature maps to return. None: all of them.
        groups: for each class, the network's labels that mean it.
        size_px: what the network sees: the shorter side, or (height, width). None: the size of the images.

    Raises:
        UsageError: a layer is unknown.
    """

    def __init__(
        self,
        network: CompactUNet,
        groups: Groups,
        layers: Sequence[str] | None = None,
        size_px: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        known = dict.fromkeys(LAYERS)
        for name in layers or ():
            choose(known, name, "layer of CompactUNet")
        self.network = network
        self.groups = groups
        self.layers = LAYERS if layers is None else tuple(layers)
        self.resize = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), size_px=size_px)
        self.num_classes = len(groups)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Segmentation:
        seen = self.network(self.resize(images))
        scores = resized(seen.scores, (images.shape[-2], images.shape[-1]))
        return Segmentation(merge_scores(scores, self.groups), {name: seen.features[name] for name in self.layers})


def read_compact(folder: Path) -> tuple[CompactUNet, list[str]]:
    """A compact U-Net in float32 and its class names; raises ModelError where the folder is incomplete."""
    shape = read_record(folder / CONFIG_NAME, ShapeRecord, TRAIN_AGAIN, ModelError)
    names = read_record(folder / CLASSES_NAME, ClassesRecord, TRAIN_AGAIN, ModelError).class_names
    if len(names) != shape.num_classes:
        raise ModelError(
            f"{folder}: {CLASSES_NAME} names {len(names)} classes, the network has {shape.num_classes}; {TRAIN_AGAIN}."
        )
    net, info = load_weights(CompactUNet, folder, allow_pickle=False, torch_dtype=torch.float32)
    require_all_weights(info, folder, advice=TRAIN_AGAIN)
    require_finite(net, folder, TRAIN_AGAIN)
    return net, list(names)


def write_compact(net: CompactUNet, folder: Path, class_names: Sequence[str], half: bool) -> None:
    """Weights, then the config, then the class names: their being there means that the folder is whole."""
    with writing(folder / WEIGHTS_NAME) as temporary:
        save_file(stored_weights(net, half), temporary, metadata={"format": "pt"})
    shape = {"num_classes": net.config.num_classes, "width": net.config.width}
    write_json(folder / CONFIG_NAME, {"_class_name": type(net).__name__, **shape})
    write_json(folder / CLASSES_NAME, {"class_names": list(class_names)})


def stored_weights(network: nn.Module, half: bool) -> dict[str, Tensor]:
    """All weights on the CPU in float32, or float16 where `half`; counters stay whole numbers."""
    kind = torch.float16 if half else torch.float32
    return {
        name: tensor.detach().to("cpu", kind if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
