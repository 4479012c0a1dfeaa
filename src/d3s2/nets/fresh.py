"""New networks for students: from scratch by their published shapes, or upon a pretrained backbone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    ConvNextConfig,
    DINOv3ConvNextConfig,
    DINOv3ViTConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
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
from d3s2.nets.families.eomt import EOMT_DINOV3
from d3s2.nets.families.family import AdaptedSegmenter, Family
from d3s2.nets.families.linear import LINEAR_HEAD, LinearHeadConfig, LinearHeadForSemanticSegmentation
from d3s2.nets.families.mask import MASK2FORMER
from d3s2.nets.families.pixel import SEGFORMER, UPERNET
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import Network

STAGE_NAMES = ["stage1", "stage2", "stage3", "stage4"]
HEAD_PARTS = frozenset({"classifier", "layernorm", "layer_norm", "pooler", "decode_head"})
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

DINOV3_VITS: dict[str, dict[str, Any]] = {
    "s": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
    "b": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "l": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}
"""Source: arXiv 2508.10104, table 2; S and B as DeiT's (arXiv 2012.12877). Four register tokens, patches of 16 px."""

EOMT_BLOCKS = {"s": 3, "b": 3, "l": 4}
"""Blocks that carry queries. Source: arXiv 2503.19108, appendix A."""

EOMT_PX, EOMT_QUERIES = 512, 100  # as EoMT learns ADE20K


class TrainingMemory(NamedTuple):
    """What a plan counts memory with.

    Args:
        weights_m: millions of weights, at 150 classes.
        held_gib: what the forward pass of one image of 512 x 512 px holds for the backward pass, in float32. Source:
            torch.autograd.graph.saved_tensors_hooks, each storage once; of Mask2Former at 256 px, four times.
    """

    weights_m: float
    held_gib: float


@dataclass(frozen=True)
class Architecture:
    """A shape that students and teachers can be trained as.

    Args:
        new: (number of classes, width, seed) -> network with new weights; only the compact U-Net has a width to choose.
        tflop: of one forward pass at 512 x 512 px and 150 classes, two operations a multiply-add. Source:
            torch.utils.flop_counter; of UPerNet on Swin-T the paper's figure (arXiv 2103.14030), doubled. None: a plan
            tries it out.
        memory: None where a plan does not tell.
    """

    new: Callable[[int, int, int], Network]
    tflop: float | None = None
    memory: TrainingMemory | None = None


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

    Examples:
        >>> import torch
        >>> from d3s2.nets import new_segmenter
        >>> net = new_segmenter("compact-unet", 5, seed=0, width=8)
        >>> net(torch.zeros(1, 3, 32, 48)).scores.shape
        torch.Size([1, 5, 32, 48])
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


def _of_transformers(
    name: str, build: Callable[[int], Network], tflop: float, weights_m: float, held_gib: float
) -> Architecture:
    def new(num_classes: int, width: int, seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "new-segmenter", name))
            return build(num_classes)

    return Architecture(new, tflop, TrainingMemory(weights_m, held_gib))


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


def _dinov3_convnext_tiny() -> DINOv3ConvNextConfig:
    shape = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}
    return DINOv3ConvNextConfig(**shape, drop_path_rate=DROP_PATH, out_features=STAGE_NAMES)


def _linear(vit: Mapping[str, Any]) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        last = [f"stage{vit['num_hidden_layers']}"]
        backbone = DINOv3ViTConfig(**vit, num_register_tokens=4, out_features=last)
        config = LinearHeadConfig(backbone_config=backbone, num_labels=num_classes)
        return adapted(LinearHeadForSemanticSegmentation(config), LINEAR_HEAD)

    return build


def _eomt(vit: Mapping[str, Any], num_blocks: int) -> Callable[[int], Network]:
    def build(num_classes: int) -> Network:
        head = {"num_blocks": num_blocks, "num_queries": EOMT_QUERIES, "image_size": EOMT_PX}
        config = EomtDinov3Config(**vit, **head, layer_norm_eps=1e-5, num_labels=num_classes)
        return adapted(EomtDinov3ForUniversalSegmentation(config), EOMT_DINOV3)

    return build


def _convnext_tiny() -> ConvNextConfig:
    shape = {"hidden_sizes": [96, 192, 384, 768], "depths": [3, 3, 9, 3]}
    return ConvNextConfig(**shape, drop_path_rate=DROP_PATH, out_features=STAGE_NAMES)


def adapted(network: Any, family: Family) -> AdaptedSegmenter:
    """A network of transformers whose labels are the classes, with ImageNet's normalisation."""
    groups = tuple((label,) for label in range(network.config.num_labels))
    window_px = None if family.window_px is None else family.window_px(network.config)
    return AdaptedSegmenter(network, family, Preprocessing(divisor=family.divisor, window_px=window_px), groups)


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
    target, kind, config, rename = _backbone_of(net)
    loaded, info = load_weights(kind, folder, allow_pickle, config=config, dtype=torch.float32)
    # a classifier has no norms for the single stages, and brings a head that is of no use here
    missing = [key for key in info["missing_keys"] if "hidden_states_norms" not in key]
    surplus = [key for key in info["unexpected_keys"] if not HEAD_PARTS.intersection(key.split("."))]
    if missing or surplus:
        raise ModelError(
            f"{source}: is no backbone for this network ({len(missing)} weights missing, {len(surplus)} too many, for "
            f"example {(missing or surplus)[0]}); take one of the same kind and size."
        )
    named = {rename(name): weights for name, weights in loaded.state_dict().items()}
    weights = {name: weights for name, weights in named.items() if name is not None}
    left_out = target.load_state_dict(weights, strict=net.family.pretrained is None)
    assert not left_out.unexpected_keys


def _backbone_of(net: AdaptedSegmenter) -> tuple[Any, Any, Any, Callable[[str], str | None]]:
    """The module to fill, class and config of the network that has its weights, and how their names change."""
    backbone, spread = net.family.backbone, net.family.pretrained
    if spread is not None:
        return net.network, spread.network, spread.config(net.network.config), spread.rename
    if not isinstance(backbone, str):
        raise UsageError(f"{net.family.network.__name__} cannot be given a backbone; leave it out.")
    target = net.network.get_submodule(backbone)
    return target, type(target), target.config, lambda name: name


COMPACT_UNET = Architecture(_compact)
SEGFORMER_B0 = _of_transformers("segformer-b0", _segformer(SEGFORMERS["b0"]), 0.017, 3.8, 0.347)
SEGFORMER_B1 = _of_transformers("segformer-b1", _segformer(SEGFORMERS["b1"]), 0.032, 13.7, 0.505)
SEGFORMER_B2 = _of_transformers("segformer-b2", _segformer(SEGFORMERS["b2"]), 0.125, 27.5, 1.052)
SEGFORMER_B3 = _of_transformers("segformer-b3", _segformer(SEGFORMERS["b3"]), 0.158, 47.3, 1.389)
SEGFORMER_B4 = _of_transformers("segformer-b4", _segformer(SEGFORMERS["b4"]), 0.191, 64.1, 1.816)
SEGFORMER_B5 = _of_transformers("segformer-b5", _segformer(SEGFORMERS["b5"]), 0.223, 84.7, 2.094)
MASK2FORMER_SWIN_T = _of_transformers("mask2former-swin-t", _mask2former(SWINS["t"]), 0.146, 47.4, 1.716)
MASK2FORMER_SWIN_S = _of_transformers("mask2former-swin-s", _mask2former(SWINS["s"]), 0.195, 68.8, 2.107)
MASK2FORMER_SWIN_B = _of_transformers("mask2former-swin-b", _mask2former(SWINS["b"]), 0.298, 106.9, 2.902)
UPERNET_SWIN_T = _of_transformers("upernet-swin-t", _upernet(lambda: _swin(SWINS["t"]), 384), 0.476, 59.9, 0.971)
UPERNET_CONVNEXT_T = _of_transformers("upernet-convnext-t", _upernet(_convnext_tiny, 384), 0.471, 60.2, 0.941)
UPERNET_DINOV3_CONVNEXT_T = _of_transformers(
    "upernet-dinov3-convnext-t", _upernet(_dinov3_convnext_tiny, 384), 0.471, 60.2, 0.93
)
LINEAR_DINOV3_VIT_S = _of_transformers("linear-dinov3-vit-s", _linear(DINOV3_VITS["s"]), 0.064, 21.7, 0.61)
LINEAR_DINOV3_VIT_B = _of_transformers("linear-dinov3-vit-b", _linear(DINOV3_VITS["b"]), 0.215, 85.8, 1.216)
EOMT_DINOV3_S = _of_transformers("eomt-dinov3-s", _eomt(DINOV3_VITS["s"], EOMT_BLOCKS["s"]), 0.096, 23.3, 1.11)
EOMT_DINOV3_B = _of_transformers("eomt-dinov3-b", _eomt(DINOV3_VITS["b"], EOMT_BLOCKS["b"]), 0.331, 92.4, 2.216)
EOMT_DINOV3_L = _of_transformers("eomt-dinov3-l", _eomt(DINOV3_VITS["l"], EOMT_BLOCKS["l"]), 0.978, 314.9, 4.899)
