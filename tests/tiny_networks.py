"""Tiny networks of the real classes of transformers, random weights, written to disk as users have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_stable_diffusion import write_tokenizer
from transformers import (
    DetrConfig,
    DINOv3ViTConfig,
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    EomtImageProcessorPil,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    OneFormerConfig,
    OneFormerForUniversalSegmentation,
    OneFormerImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    SwinConfig,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from d3s2.nets.families.linear import LinearHeadConfig, LinearHeadForSemanticSegmentation

KINDS = ("eomt", "eomt_dinov3", "linear_head", "mask2former", "maskformer", "oneformer", "segformer", "upernet")
WINDOWED = ("eomt", "eomt_dinov3")
WINDOW_PX = 64
"""Side of the square that the tiny networks of one size take."""
TASK_LENGTH = 40
"""Tokens that the tiny OneFormer takes."""
CLASS_NAMES = ("sky", "road", "tree", "car")


def tiny_swin() -> SwinConfig:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    shape = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4, "image_size": 32}
    return SwinConfig(**shape, drop_path_rate=0.0, out_features=stages)


def tiny_network(kind: str, class_names: Sequence[str] = CLASS_NAMES, seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _random_network(kind, class_names)
        if kind in ("mask2former", "maskformer", "oneformer", *WINDOWED):
            _set_queries_apart(kind, network)
    return network


@torch.no_grad()
def _set_queries_apart(kind: str, network: Any) -> None:
    """Freshly drawn, all queries say nearly the same, and one class wins everywhere."""
    if kind in WINDOWED:
        network.class_predictor.weight.normal_()
        network.mask_head.fc3.weight.normal_().mul_(3)
        for weight in network.embeddings.patch_embeddings.parameters():
            weight.mul_(10)
    elif kind == "oneformer":
        network.model.transformer_module.decoder.class_embed.weight.mul_(10)
        network.model.transformer_module.queries_embedder.weight.normal_()
        network.model.pixel_level_module.decoder.mask_projection.weight.mul_(100)
    else:
        network.class_predictor.weight.mul_(30)
        if kind == "mask2former":
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
    if kind in WINDOWED:
        vit = {"hidden_size": 16, "num_hidden_layers": 6, "num_attention_heads": 2, "image_size": WINDOW_PX}
        head = {"num_blocks": 2, "num_queries": 7, "train_num_points": 96}
        if kind == "eomt":
            return EomtForUniversalSegmentation(EomtConfig(**vit, **head, mlp_ratio=2, **labels))
        return EomtDinov3ForUniversalSegmentation(EomtDinov3Config(**vit, **head, intermediate_size=32, **labels))
    if kind == "oneformer":
        small = {"conv_dim": 32, "mask_dim": 32, "hidden_dim": 32, "dim_feedforward": 32, "num_queries": 7}
        heads = {"encoder_layers": 1, "decoder_layers": 3, "num_attention_heads": 2, "encoder_feedforward_dim": 32}
        text = {"text_encoder_width": 16, "text_encoder_num_layers": 1, "text_encoder_vocab_size": 600}
        length = {"task_seq_len": TASK_LENGTH, "text_encoder_context_length": TASK_LENGTH}
        config = OneFormerConfig(backbone_config=tiny_swin(), **small, **heads, **text, **length, **labels)
        return OneFormerForUniversalSegmentation(config)
    if kind == "linear_head":
        vit = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        backbone = DINOv3ViTConfig(**vit, num_register_tokens=4, out_features=["stage2"])
        return LinearHeadForSemanticSegmentation(LinearHeadConfig(backbone_config=backbone, **labels))
    if kind == "segformer":
        shape = {"depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]}
        return SegformerForSemanticSegmentation(SegformerConfig(**shape, decoder_hidden_size=16, **labels))
    heads = {"hidden_size": 16, "pool_scales": [1, 2], "auxiliary_channels": 8, "auxiliary_in_channels": 32}
    return UperNetForSemanticSegmentation(UperNetConfig(backbone_config=tiny_swin(), **heads, **labels))


def tiny_processor(kind: str) -> Any:
    if kind in WINDOWED:
        return EomtImageProcessorPil(size={"shortest_edge": WINDOW_PX, "longest_edge": None}, do_split_image=True)
    known = {
        "mask2former": Mask2FormerImageProcessorPil,
        "maskformer": MaskFormerImageProcessorPil,
        "oneformer": OneFormerImageProcessorPil,
    }
    return known.get(kind, SegformerImageProcessorPil)()


def save_tiny(kind: str, folder: Path, class_names: Sequence[str] = CLASS_NAMES) -> Any:
    """Writes network and image processor to `folder`; returns the network for evaluation."""
    network = tiny_network(kind, class_names).eval()
    network.save_pretrained(folder)
    tiny_processor(kind).save_pretrained(folder)
    if kind == "oneformer":
        write_tokenizer(folder)
    return network
