"""New networks for students."""

from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_network, tiny_swin
from transformers import (
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    SegformerConfig,
    SegformerForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from d3s2.base.errors import ModelError, UsageError
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.nets.fresh import adapted, fill_backbone, new_segmenter
from d3s2.nets.loading import NETWORKS
from d3s2.nets.segmenter import Segmenter
from d3s2.nets.trainable import Trainable

# Millions of parameters as published: arXiv 2112.01527 table 7, 2105.15203 table 1, and the UPerNet rows of
# 2103.14030 and 2201.03545, whose count includes the auxiliary head.
PUBLISHED_MILLIONS = {
    "segformer-b0": 3.8,
    "segformer-b1": 13.7,
    "segformer-b2": 27.5,
    "segformer-b3": 47.3,
    "segformer-b4": 64.1,
    "segformer-b5": 84.7,
    "mask2former-swin-t": 47,
    "mask2former-swin-s": 69,
    "mask2former-swin-b": 107,
    "upernet-swin-t": 60,
    "upernet-convnext-t": 60,
    "upernet-dinov3-convnext-t": 60,
}

# Of the backbone alone, as the pages of the pretrained weights round them (arXiv 2508.10104, table 2).
PUBLISHED_BACKBONE_MILLIONS = {
    "linear-dinov3-vit-s": 21,
    "linear-dinov3-vit-b": 86,
    "eomt-dinov3-s": 21,
    "eomt-dinov3-b": 86,
    "eomt-dinov3-l": 300,
}


@pytest.mark.parametrize("architecture", sorted(PUBLISHED_MILLIONS))
def test_architectures_have_their_published_size(architecture: str) -> None:
    with torch.device("meta"):
        net = new_segmenter(architecture, 150, seed=0)
    millions = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert millions == pytest.approx(PUBLISHED_MILLIONS[architecture], rel=0.015)
    assert {*PUBLISHED_MILLIONS, *PUBLISHED_BACKBONE_MILLIONS, "compact-unet"} == set(ARCHITECTURES)


@pytest.mark.parametrize("architecture", sorted(PUBLISHED_BACKBONE_MILLIONS))
def test_backbones_have_their_published_size(architecture: str) -> None:
    with torch.device("meta"):
        net = new_segmenter(architecture, 150, seed=0)
    groups = net.parameter_groups(lr=1.0, weight_decay=0.0)
    backbone = [weights for group in groups if "backbone" in group["name"] for weights in group["params"]]
    millions = sum(weights.numel() for weights in backbone) / 1e6
    assert millions == pytest.approx(PUBLISHED_BACKBONE_MILLIONS[architecture], rel=0.04)


@pytest.mark.parametrize("architecture", ["compact-unet", "segformer-b0"])
def test_weights_come_from_the_seed_alone(architecture: str) -> None:
    state = torch.get_rng_state()
    nets = [new_segmenter(architecture, 5, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    first, same, other = (torch.cat([p.detach().flatten() for p in net.parameters()]) for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("architecture", ["compact-unet", "segformer-b0"])
def test_a_new_network_keeps_both_contracts_and_learns(architecture: str) -> None:
    net = new_segmenter(architecture, 5, seed=1)
    assert isinstance(net, Segmenter)
    assert isinstance(net, Trainable)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 40, 56, generator=generator)
    masks = torch.randint(0, 5, (2, 40, 56), generator=generator, dtype=torch.uint8)
    masks[:, :10] = 255
    optimiser = torch.optim.AdamW(net.parameter_groups(lr=1e-3, weight_decay=0.01))
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = net.loss(images, masks)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_the_backbone_learns_at_a_tenth_and_norms_and_embeddings_do_not_decay() -> None:
    with torch.device("meta"):
        net = new_segmenter("mask2former-swin-t", 5, seed=0)
    groups = {group["name"]: group for group in net.parameter_groups(lr=1e-4, weight_decay=0.05)}
    assert sorted(groups) == ["backbone", "backbone without decay", "head", "head without decay"]
    assert sum(len(group["params"]) for group in groups.values()) == len(list(net.parameters()))
    for name, group in groups.items():
        assert group["lr"] == pytest.approx(1e-5 if name.startswith("backbone") else 1e-4)
        assert group["weight_decay"] == (0.0 if "without" in name else 0.05)
    undecayed = {id(p) for name, group in groups.items() if "without" in name for p in group["params"]}
    for name, parameter in net.named_parameters():
        special = any(word in name for word in ("norm", "bias_table", "queries_", "level_embed"))
        if special:
            assert id(parameter) in undecayed, name
    conv = net.get_submodule("network.class_predictor").weight
    assert id(conv) not in undecayed


def test_an_unknown_architecture_and_a_backbone_for_none_are_refused() -> None:
    with pytest.raises(UsageError, match=r"Unknown architecture 'segformer-b9'.*Did you mean 'segformer-b"):
        new_segmenter("segformer-b9", 5, seed=0)
    with pytest.raises(UsageError, match=r"compact-unet has no backbone of its own"):
        new_segmenter("compact-unet", 5, seed=0, backbone="nvidia/mit-b0")


def test_a_pretrained_backbone_is_taken_from_a_classifier(tmp_path: Path) -> None:
    config = SegformerConfig(hidden_sizes=[32, 64, 160, 256], depths=[2, 2, 2, 2], num_labels=10)
    classifier = SegformerForImageClassification(config)
    classifier.save_pretrained(tmp_path / "mit")
    net = new_segmenter("segformer-b0", 5, seed=3, backbone=tmp_path / "mit")
    scratch = new_segmenter("segformer-b0", 5, seed=3)
    wanted, untouched = classifier.segformer.state_dict(), scratch.get_submodule("network.decode_head").state_dict()
    taken, head = (net.get_submodule(f"network.{part}").state_dict() for part in ("segformer", "decode_head"))
    assert all(torch.equal(taken[name], tensor) for name, tensor in wanted.items())
    assert all(torch.equal(head[name], tensor) for name, tensor in untouched.items())


@pytest.mark.parametrize("kind", ["eomt_dinov3", "linear_head"])
def test_a_dinov3_fills_a_network_of_its_own_shape_only(kind: str, tmp_path: Path) -> None:
    net = adapted(tiny_network(kind), NETWORKS[kind])
    layers = 6 if kind == "eomt_dinov3" else 2
    shape = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_register_tokens": 4}
    pretrained = DINOv3ViTModel(DINOv3ViTConfig(**shape, num_hidden_layers=layers))
    pretrained.save_pretrained(tmp_path / "same")
    DINOv3ViTModel(DINOv3ViTConfig(**shape, num_hidden_layers=layers + 1)).save_pretrained(tmp_path / "deeper")
    before = {name: weights.clone() for name, weights in net.network.state_dict().items()}
    fill_backbone(net, tmp_path / "same")
    changed = {name for name, weights in net.network.state_dict().items() if not torch.equal(weights, before[name])}
    # biases and norms are new as they are in the pretrained network: what is drawn at random has to come over
    drawn = {name for name, weights in pretrained.state_dict().items() if weights.std() > 0} - {"embeddings.mask_token"}
    assert len(changed) == len(drawn) > 4 * layers
    with pytest.raises(ModelError, match=r"is no backbone for this network \(0 weights missing, \d+ too many"):
        fill_backbone(net, tmp_path / "deeper")


def test_a_dinov3_convnext_fills_a_upernet(tmp_path: Path) -> None:
    shape = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
    pretrained = DINOv3ConvNextModel(DINOv3ConvNextConfig(**shape))
    pretrained.save_pretrained(tmp_path / "net")
    stages = ["stage1", "stage2", "stage3", "stage4"]
    heads = {"hidden_size": 16, "pool_scales": [1, 2], "auxiliary_channels": 8, "auxiliary_in_channels": 16}
    config = UperNetConfig(backbone_config=DINOv3ConvNextConfig(**shape, out_features=stages), **heads)
    net = adapted(UperNetForSemanticSegmentation(config), NETWORKS["upernet"])
    fill_backbone(net, tmp_path / "net")
    name = "model.stages.2.layers.0.pointwise_conv1.weight"
    assert torch.equal(net.network.backbone.state_dict()[name], pretrained.state_dict()[name])
    assert net.eval()(torch.zeros(1, 3, 64, 64)).scores.shape == (1, 2, 64, 64)


@pytest.mark.parametrize("kind", ["mask2former", "upernet"])
def test_a_swin_classifier_fills_a_swin_of_its_own_shape_only(kind: str, tmp_path: Path) -> None:
    shape = tiny_swin().to_dict()
    del shape["out_features"], shape["out_indices"], shape["stage_names"]
    deeper = {**shape, "depths": [1, 1, 2, 1]}
    for name, settings in (("same", shape), ("deeper", deeper)):
        SwinForImageClassification(SwinConfig(**settings)).save_pretrained(tmp_path / name)
    net = adapted(tiny_network(kind), NETWORKS[kind])
    backbone = net.network.get_submodule(net.family.backbone)
    before = backbone.state_dict()["swin.embeddings.patch_embeddings.projection.weight"].clone()
    fill_backbone(net, tmp_path / "same")
    assert not torch.equal(before, backbone.state_dict()["swin.embeddings.patch_embeddings.projection.weight"])
    with pytest.raises(ModelError, match=r"is no backbone for this network \(0 weights missing, \d+ too many"):
        fill_backbone(net, tmp_path / "deeper")
