"""Segmentation networks from a folder or the hub, and back into a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import CONFIG_NAME

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.formats.files import writing_files
from d3s2.base.formats.records import read_object
from d3s2.base.names import choose
from d3s2.hub import load_weights, locate, quiet_loading, require_all_weights
from d3s2.nets.compact.files import DEFAULT_LAYERS, CompactView, read_compact, stored_weights, write_compact
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.families.eomt import EOMT, EOMT_DINOV3
from d3s2.nets.families.family import AdaptedSegmenter, Family
from d3s2.nets.families.linear import LINEAR_HEAD
from d3s2.nets.families.mask import MASK2FORMER, MASKFORMER
from d3s2.nets.families.oneformer import ONEFORMER, TASK_TOKENS
from d3s2.nets.families.pixel import SEGFORMER, UPERNET
from d3s2.nets.inputs.preprocessing import read_preprocessing, write_preprocessing
from d3s2.nets.labels import LabelMap, group_labels
from d3s2.nets.segmenter import Segmenter

NETWORKS: dict[str, Family] = {
    "eomt": EOMT,
    "eomt_dinov3": EOMT_DINOV3,
    "linear_head": LINEAR_HEAD,
    "mask2former": MASK2FORMER,
    "maskformer": MASKFORMER,
    "oneformer": ONEFORMER,
    "segformer": SEGFORMER,
    "upernet": UPERNET,
}
"""`model_type` in a config of transformers -> how such a network keeps the contract. d3s2's own stands beside them."""

MAX_LAYERS = 1000
NOT_LEARNT = {"attn_mask_probs", "criterion.empty_weight"}
"""Numbers of EoMT and its kin that a config gives; files of earlier versions of transformers lack them."""

ONLY_TRAINED = "its scores would be random: take the network that was trained for segmentation, not its backbone"

Network = CompactUNet | AdaptedSegmenter
"""What `new_segmenter` makes and `save_segmenter` writes: a `Segmenter` and a `Trainable`."""


def load_segmenter(
    source: str | Path,
    class_names: Sequence[str],
    *,
    device: torch.device,
    layers: Sequence[str] | None = None,
    label_map: LabelMap | None = None,
    size_px: int | tuple[int, int] | None = None,
    allow_pickle: bool = False,
    revision: str | None = None,
) -> Segmenter:
    """A frozen network in float32 whose scores are those of `class_names`, in their order.

    Args:
        source: local folder, or hub id.
        class_names: the data set's classes, in the order of train ids.
        layers: names of the feature maps to return. None: the backbone's stages and the decoder.
        label_map: for a network of other classes: class of the data set -> the network's labels that mean it.
        size_px: what the network sees: the shorter side, or (height, width). None: the size of the images, or the one
            square that the network takes.
        allow_pickle: also read weights that are not safetensors.
        revision: commit, tag or branch of a hub id. None: its main branch.

    Raises:
        ModelError: nothing is there, the network knows other classes, or only pickled weights are there.
        UsageError: a layer is unknown, or the network does not take `size_px`.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.data import open_split
        >>> from d3s2.hub import resolve_source
        >>> from d3s2.nets import load_segmenter
        >>> names = open_split(d3s2.load_run("scenes").data, "train").space.names
        >>> teacher = load_segmenter(resolve_source("shipped:scenes/teacher"), names, device=torch.device("cpu"))
        >>> teacher(torch.rand(1, 3, 64, 96)).scores.shape
        torch.Size([1, 18, 64, 96])
    """
    folder = locate(source, allow_pickle=allow_pickle, revision=revision)
    config = _read_config(folder)
    net: CompactUNet | CompactView | AdaptedSegmenter
    if config.get("_class_name") == CompactUNet.__name__:
        compact, names = read_compact(folder)
        groups = group_labels(str(source), names, class_names, label_map)
        plain = layers is None and size_px is None and list(names) == list(class_names)
        net = compact if plain else CompactView(compact, groups, layers, size_px)
    else:
        family = choose(NETWORKS, str(config.get("model_type")), f"kind of segmentation network in {folder}")
        network = _load_network(family, str(source), folder, allow_pickle)
        names = _names_of(network, folder)
        groups = group_labels(str(source), names, class_names, label_map)
        window_px = _window_px(family, network, size_px, str(source))
        preprocessing = read_preprocessing(folder, family.divisor, size_px, window_px)
        inputs = None if family.inputs is None else family.inputs(folder)
        net = AdaptedSegmenter(network, family, preprocessing, groups, layers, inputs)
    return frozen(net).to(device)


def save_segmenter(net: Network, folder: Path, class_names: Sequence[str], half: bool = False) -> None:
    """Writes a network as safetensors with its config and class names; `half` stores float16.

    Args:
        folder: made where it is missing.
        class_names: the data set's classes, in the order of train ids.

    Raises:
        ModelError: the network has another number of classes.
        StoreError: the folder cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from d3s2.nets import new_segmenter, save_segmenter
        >>> save_segmenter(new_segmenter("compact-unet", 2, seed=0, width=8), Path("net"), ("road", "car"))
        >>> sorted(path.name for path in Path("net").iterdir())
        ['classes.json', 'config.json', 'diffusion_pytorch_model.safetensors']
    """
    if len(class_names) != net.num_classes:
        raise ModelError(
            f"{folder}: the network has {net.num_classes} classes and {len(class_names)} class names are given; "
            "give one name a class."
        )
    if isinstance(net, CompactUNet):
        write_compact(net, folder, class_names, half)
    else:
        _write_adapted(net, folder, class_names, half)


def default_layers(net: Segmenter) -> tuple[str, ...]:
    """Whose features are matched where none are chosen.

    Examples:
        >>> from d3s2.nets import default_layers, new_segmenter
        >>> default_layers(new_segmenter("compact-unet", 5, seed=0, width=8))
        ('down1', 'down2', 'down3', 'up1')
    """
    return net.family.default_layers if isinstance(net, AdaptedSegmenter) else DEFAULT_LAYERS


def frozen(net: nn.Module) -> Any:
    """The same network for evaluation: no dropout, no gradient for its weights (images still get theirs)."""
    return net.eval().requires_grad_(False)


def _load_network(family: Family, source: str, folder: Path, allow_pickle: bool) -> Any:
    network, info = load_weights(family.network, folder, allow_pickle, dtype=torch.float32)
    info = {**info, "missing_keys": set(info["missing_keys"]) - NOT_LEARNT}
    require_all_weights(info, source, advice=ONLY_TRAINED)
    if getattr(network, "auxiliary_head", None) is not None:
        # serves training only, and costs a full set of scores
        network.auxiliary_head = None
        network.config.use_auxiliary_head = False
    return network.float()  # OneFormer keeps one number in float64


def _window_px(family: Family, network: Any, size_px: int | tuple[int, int] | None, source: str) -> int | None:
    """Side of the only square that the network takes; None where it takes any size."""
    side = None if family.window_px is None else family.window_px(network.config)
    if side is not None and size_px not in (None, side, (side, side)):
        raise UsageError(
            f"{source}: the network takes squares of {side} px only and is to see {size_px}; leave the size out, "
            "larger or oblong images are cut into such squares."
        )
    return side


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / CONFIG_NAME, "get the files again", ModelError)
    key = _too_deep(config)
    if key is not None:
        raise ModelError(
            f"{folder / CONFIG_NAME}: key '{key}' asks for more than {MAX_LAYERS:,} layers; get the files again."
        )
    return config


def _too_deep(config: dict[str, Any], prefix: str = "") -> str | None:
    """The first key that gives a number of layers which would take for ever to build."""
    for key, value in config.items():
        inside = _too_deep(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        counts = value if isinstance(value, list) else [value]
        if "depths" in key or "layers" in key:
            inside = inside or (f"{prefix}{key}" if any(_is_large(count) for count in counts) else None)
        if inside is not None:
            return inside
    return None


def _is_large(count: Any) -> bool:
    return isinstance(count, int | float) and count > MAX_LAYERS


def _names_of(network: Any, folder: Path) -> list[str]:
    labels = network.config.id2label
    names = [labels.get(label) for label in range(network.config.num_labels)]
    if not all(isinstance(name, str) for name in names):
        raise ModelError(
            f"{folder / CONFIG_NAME}: id2label does not name each of the {len(names)} classes; get the files again."
        )
    return names


def _write_adapted(net: AdaptedSegmenter, folder: Path, class_names: Sequence[str], half: bool) -> None:
    network, config = net.network, net.network.config
    config.id2label = dict(enumerate(class_names))
    config.label2id = {name: label for label, name in config.id2label.items()}
    for name in net.input_names:
        if name == "task_inputs":
            setattr(config, TASK_TOKENS, net.get_buffer(name).tolist())
    weights = stored_weights(network, half)
    with writing_files(folder, last=CONFIG_NAME) as scratch:
        with quiet_loading():
            network.save_pretrained(scratch, state_dict=weights)
        write_preprocessing(scratch, net.preprocessing, net.family.processor)
