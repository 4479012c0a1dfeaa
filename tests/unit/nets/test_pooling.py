"""One vector an image from the deepest features, whichever network it is."""

from pathlib import Path

import pytest
import torch
from tiny_networks import CLASS_NAMES, save_tiny

from d3s2.base.errors import ModelError
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.loading import load_segmenter
from d3s2.nets.pooling import deepest_layer, pooled_features


def test_the_deepest_layer_has_the_fewest_cells() -> None:
    features = {"fine": torch.zeros(1, 2, 8, 8), "deep": torch.zeros(1, 2, 2, 3), "late": torch.zeros(1, 9, 2, 3)}
    assert deepest_layer(features) == "deep"
    with pytest.raises(ModelError, match=r"^The network returns no features; give one that names layers"):
        deepest_layer({})


def test_vectors_are_means_over_quarters_and_follow_what_is_where() -> None:
    net = CompactUNet(num_classes=3, width=8).eval()
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors, deep = pooled_features(net, images), net(images).features["down3"]
    assert vectors.shape == (2, 4 * 32)
    assert vectors[1, 0] == pytest.approx(float(deep[1, 0, :1, :2].mean()), abs=0.5)
    with torch.no_grad():
        assert not torch.allclose(vectors, pooled_features(net, images.flip(-1)), atol=1e-4)


def test_an_adapted_network_gives_vectors_too(tmp_path: Path) -> None:
    save_tiny("segformer", tmp_path)
    net = load_segmenter(str(tmp_path), CLASS_NAMES, device=torch.device("cpu"))
    with torch.no_grad():
        assert pooled_features(net, torch.rand(2, 3, 64, 64)).shape == (2, 4 * 16)
