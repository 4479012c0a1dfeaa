"""Tiny networks of the real classes of transformers, random weights, written to disk as users have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DetrConfig,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

KINDS = ("mask2former", "maskformer", "segformer", "upernet")
CLASS_NAMES = ("sky", "road", "tree", "car")


def tiny_swin() -> SwinConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    shape = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "image_size": 32}
    return SwinConfig(**shape, drop_path_rate=0.0, out_features=stages)


def tiny_network(kind: str, class_names: Sequence[str] = CLASS_NAMES, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _random_network(kind, class_names)
        if kind in ("mask2former", "maskformer"):
            _set_queries_apart(network)
    return network


@torch.no_grad()
def _set_queries_apart(network: Any) -> None:
    """Freshly drawn, all queries say nearly the same, and one class wins everywhere."""
    network.class_predictor.weight.mul_(30)
    if hasattr(network.model.transformer_module, "queries_features"):
        network.model.transformer_module.queries_features.weight.normal_()
        network.model.pixel_level_module.decoder.mask_projection.weight.mul_(200)


def _random_network(kind: str, class_names: Sequence[str]) -> Any:
    labels = {"id2label": dict(enumerate(class_names)), "label2id": {name: i for i, name in enumerate(class_names)}}
    if kind == "mask2former":
        small = {"feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "dim_feedforward": 32}
        heads = {"encoder_layers": 1, "decoder_layers": 3, "num_attention_heads": 2, "encoder_feedforward_dim": 32}
        points = {"num_queries": 7, "train_num_points": 96}
        config = Mask2FormerConfig(backbone_config=tiny_swin(), **small, **heads, **points, **labels)
        return Mask2FormerForUniversalSegmentation(config)
    if kind == "maskformer":
        heads = {"decoder_attention_heads": 2, "encoder_attention_heads": 2, "num_queries": 7}
        layers = {"decoder_layers": 1, "encoder_layers": 1, "decoder_ffn_dim": 32, "encoder_ffn_dim": 32}
        decoder = DetrConfig(d_model=32, **layers, **heads)
        shape = {"fpn_feature_size": 32, "mask_feature_size": 32}
        config = MaskFormerConfig(backbone_config=tiny_swin(), decoder_config=decoder, **shape, **labels)
        return MaskFormerForInstanceSegmentation(config)
    if kind == "segformer":
        shape = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
        return SegformerForSemanticSegmentation(SegformerConfig(**shape, decoder_hidden_size=16, **labels))
    heads = {"hidden_size": 16, "pool_scales": [1, 2], "auxiliary_channels": 8, "auxiliary_in_channels": 32}
    return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=tiny_swin(), **heads, **labels))


def tiny_processor(kind: str) -> Any:
    if kind == "mask2former":
        return Mask2FormerImageProcessorPil()
    return MaskFormerImageProcessorPil() if kind == "maskformer" else SegformerImageProcessorPil()


def save_tiny(kind: str, folder: Path, class_names: Sequence[str] = CLASS_NAMES) -> Any:
    """Writes network and image processor to `folder`; returns the network for evaluation."""
    network = tiny_network(kind, class_names).eval()
    network.save_pretrained(folder)
    tiny_processor(kind).save_pretrained(folder)
    return network
