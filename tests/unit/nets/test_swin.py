"""What a shifted window's mask forbids has no probability, and the rest is as transformers has it."""

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import MaskFormerSwinBackbone, MaskFormerSwinConfig, SwinBackbone, SwinConfig

from d3s2.nets.families.swin import forbid_fully

SHAPE = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 40}
BACKBONES = {"swin": (SwinBackbone, SwinConfig), "maskformer-swin": (MaskFormerSwinBackbone, MaskFormerSwinConfig)}


@pytest.fixture(params=sorted(BACKBONES))
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    kind, config = BACKBONES[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(config(**SHAPE, out_features=["stage1", "stage2"])).eval()


def images() -> Tensor:
    """10 x 10 patches, which windows of 4 x 4 cover only with padding."""
    return torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))


def features_and_gradients(backbone: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The feature maps; the gradients of their cubes by what each linear layer puts out."""
    heard: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
        for module in backbone.modules()
        if isinstance(module, nn.Linear)
    ]
    maps = list(backbone(images()).feature_maps)
    for hook in hooks:
        hook.remove()
    total = torch.stack([map_.pow(3).sum() for map_ in maps]).sum()
    return maps, [gradient for gradient in torch.autograd.grad(total, heard, allow_unused=True) if gradient is not None]


def subnormal(values: Tensor) -> int:
    size = values.abs()
    return int(((size > 0) & (size < torch.finfo(values.dtype).tiny)).sum())


def test_the_backward_pass_meets_no_subnormal_number_and_the_features_stay(backbone: nn.Module) -> None:
    plain, corrected = backbone, copy.deepcopy(backbone)
    forbid_fully(corrected)
    expected, slow = features_and_gradients(plain)
    found, fast = features_and_gradients(corrected)
    assert sum(map(subnormal, slow)) > 0, "transformers forbids fully by itself: forbid_fully can go"
    assert sum(map(subnormal, fast)) == 0
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(fast, slow)


def test_a_network_without_swin_is_left_alone() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    forbid_fully(network)
    assert not network[0]._forward_pre_hooks
