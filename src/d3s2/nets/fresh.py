"""New networks for students: from scratch by their published shapes, or upon a pretrained backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    ConvNextConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.seeds import seed_for
from d3s2.hub import load_weights, locate
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.families.family import AdaptedSegmenter, Family
from d3s2.nets.families.mask import MASK2FORMER
from d3s2.nets.families.pixel import SEGFORMER, UPERNET
from d3s2.nets.loading import Network
from d3s2.nets.preprocessing import Preprocessing

STAGE_NAMES = ["stage1", "stage2", "stage3", "stage4"]
HEAD_PARTS = frozenset({"classifier", "layernorm", "pooler", "decode_head"})
DROP_PATH = 0.3  # of Swin and ConvNeXt under a segmentation head, as Mask2Former and UPerNet train them

SWINS: dict[str, dict[str, Any]] = {
    "t": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224},
    "s": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7, "image_size": 224},
    "b": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12, "image_size": 384},
}
"""Source: arXiv 2103.14030, section 3.3."""

SEGFORMERS: dict[str, dict[str, Any]] = {
    "b0": {"hidden_sizes": [32, 64, 160, 256], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "b1": {"hidden_sizes": [64, 128, 320, 512], "depths": [2, 2, 2, 2], "decoder_hidden_size": 256},
    "b2": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 6, 3], "decoder_hidden_size": 768},
    "b3": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 18, 3], "decoder_hidden_size": 768},
    "b4": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 8, 27, 3], "decoder_hidden_size": 768},
    "b5": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 6, 40, 3], "decoder_hidden_size": 768},
}
"""Source: arXiv 2105.15203, table 6."""


@dataclass(frozen=True)
class Architecture:
    """A shape that students and teachers can be trained as.

    Args:
        new: (number of classes, width, seed) -> network with new weights; only the compact U-Net has a width to choose.
        tflop: of one forward pass at 512 x 512 px and 150 classes, two operations a multiply-add. Source:
            torch.utils.flop_counter; of UPerNet on Swin-T the paper's figure (arXiv 2103.14030), doubled. None: a plan
            tries it out.
    """

    new: Callable[[int, int, int], Network]
    tflop: float | None = None


def new_segmenter(
    architecture: str,
    num_classes: int,
    *,
    seed: int,
    width: int = 16,
    backbone: str | Path | None = None,
    revision: str | None = None,
    allow_pickle: bool = False,
) -> Network:
    """A network that has not learnt yet: a `Segmenter` and a `Trainable`.

    Args:
        architecture: a name in ARCHITECTURES.
        seed: of its first weights; global random state is left as it was.
        width: of the compact U-Net, channels of its finest level.
        backbone: local folder or hub id of a pretrained backbone of the same shape. None: from scratch.
        revision: commit, tag or branch of a backbone from the hub. None: its main branch.
        allow_pickle: also read a backbone whose weights are not safetensors.

    Raises:
        UsageError: the architecture is unknown, or has no backbone to give.
        ModelError: the backbone is not there, or of another shape.
    """
    net = ARCHITECTURES.load(architecture).new(num_classes, width, seed)
    if backbone is None:
        return net
    if not isinstance(net, AdaptedSegmenter):
        raise UsageError(f"{architecture} has no backbone of its own; leave out backbone '{backbone}'.")
    fill_backbone(net, backbone, allow_pickle=allow_pickle, revision=revision)
    return net


def _compact(num_classes: int, width: int, seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CompactUNet(num_classes, width)


def _of_transformers(name: str, build: Callable[[int], Network], tflop: float) -> Architecture:
    def new(num_classes: int, width: int, seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "new-segmenter", name))
            return build(num_classes)

    return Architecture(new, tflop)


def _segformer(shape: Mapping[str, Any]) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        config = SegformerConfig(num_labels=num_classes, **shape)
        return adapted(SegformerForSemanticSegmentation(config), SEGFORMER)

    return build


def _mask2former(swin: Mapping[str, Any]) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        config = Mask2FormerConfig(backbone_config=_swin(swin), num_labels=num_classes)
        return adapted(Mask2FormerForUniversalSegmentation(config), MASK2FORMER)

    return build


def _upernet(backbone: Callable[[], Any], coarse_channels: int) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        config = UperNetConfig(
            backbone_config=backbone(), auxiliary_in_channels=coarse_channels, num_labels=num_classes
        )
        return adapted(UperNetForSemanticSegmentation(config), UPERNET)

    return build


def _swin(shape: Mapping[str, Any]) -> SwinConfig:
    return SwinConfig(**shape, drop_path_rate=DROP_PATH, out_features=STAGE_NAMES)


def _convnext_tiny() -> ConvNextConfig:
    shape = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}
    return ConvNextConfig(**shape, drop_path_rate=DROP_PATH, out_features=STAGE_NAMES)


def adapted(network: Any, family: Family) -> AdaptedSegmenter:
    """A network of transformers whose labels are the classes, with ImageNet's normalisation."""
    groups = tuple((label,) for label in range(network.config.num_labels))
    return AdaptedSegmenter(network, family, Preprocessing(divisor=family.divisor), groups)


def fill_backbone(
    net: AdaptedSegmenter, source: str | Path, *, allow_pickle: bool = False, revision: str | None = None
) -> None:
    """Gives the network's backbone the weights of a pretrained one, for example of an ImageNet classifier.

    Args:
        source: local folder or hub id.
        allow_pickle: also read weights that are not safetensors.
        revision: commit, tag or branch of a hub id. None: its main branch.

    Raises:
        ModelError: nothing is there, or its shape is another.
    """
    folder = locate(source, allow_pickle=allow_pickle, revision=revision)
    target = net.network.get_submodule(net.family.backbone)
    loaded, info = load_weights(type(target), folder, allow_pickle, config=target.config, dtype=torch.float32)
    # a classifier has no norms for the single stages, and brings a head that is of no use here
    missing = [key for key in info["missing_keys"] if "hidden_states_norms" not in key]
    surplus = [key for key in info["unexpected_keys"] if not HEAD_PARTS.intersection(key.split("."))]
    if missing or surplus:
        raise ModelError(
            f"{source}: is no backbone for this network ({len(missing)} weights missing, {len(surplus)} too many, for "
            f"example {(missing or surplus)[0]}); take one of the same kind and size."
        )
    target.load_state_dict(loaded.state_dict())


COMPACT_UNET = Architecture(_compact)
SEGFORMER_B0 = _of_transformers("segformer-b0", _segformer(SEGFORMERS["b0"]), 0.017)
SEGFORMER_B1 = _of_transformers("segformer-b1", _segformer(SEGFORMERS["b1"]), 0.032)
SEGFORMER_B2 = _of_transformers("segformer-b2", _segformer(SEGFORMERS["b2"]), 0.125)
SEGFORMER_B3 = _of_transformers("segformer-b3", _segformer(SEGFORMERS["b3"]), 0.158)
SEGFORMER_B4 = _of_transformers("segformer-b4", _segformer(SEGFORMERS["b4"]), 0.191)
SEGFORMER_B5 = _of_transformers("segformer-b5", _segformer(SEGFORMERS["b5"]), 0.223)
MASK2FORMER_SWIN_T = _of_transformers("mask2former-swin-t", _mask2former(SWINS["t"]), 0.146)
MASK2FORMER_SWIN_S = _of_transformers("mask2former-swin-s", _mask2former(SWINS["s"]), 0.195)
MASK2FORMER_SWIN_B = _of_transformers("mask2former-swin-b", _mask2former(SWINS["b"]), 0.298)
UPERNET_SWIN_T = _of_transformers("upernet-swin-t", _upernet(lambda: _swin(SWINS["t"]), 384), 0.476)
UPERNET_CONVNEXT_T = _of_transformers("upernet-convnext-t", _upernet(_convnext_tiny, 384), 0.471)
