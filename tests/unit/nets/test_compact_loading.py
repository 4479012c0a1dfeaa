"""The compact U-Net on disk."""

from pathlib import Path

import pytest
import torch

from d3s2.base.errors import ModelError, UsageError
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.loading import load_segmenter, save_segmenter

NAMES = ("sky", "road", "tree")
CPU = torch.device("cpu")


def small_unet() -> CompactUNet:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return CompactUNet(len(NAMES), width=8)


def test_a_saved_network_gives_the_same_scores_frozen_in_float32(tmp_path: Path) -> None:
    net = small_unet()
    save_segmenter(net, tmp_path / "net", NAMES)
    again = load_segmenter(tmp_path / "net", NAMES, device=CPU)
    images = torch.rand(2, 3, 21, 34)
    torch.testing.assert_close(again(images).scores, net.eval()(images).scores)
    assert isinstance(again, CompactUNet)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_half_precision_on_disk_is_half_the_bytes_and_float32_in_memory(tmp_path: Path) -> None:
    net = small_unet()
    save_segmenter(net, tmp_path / "full", NAMES)
    save_segmenter(net, tmp_path / "half", NAMES, half=True)
    weights = "diffusion_pytorch_model.safetensors"
    sizes = {name: (tmp_path / name / weights).stat().st_size for name in ("full", "half")}
    assert sizes["half"] < 0.55 * sizes["full"]
    again = load_segmenter(str(tmp_path / "half"), NAMES, device=CPU)
    assert isinstance(again, CompactUNet)
    assert {parameter.dtype for parameter in again.parameters()} == {torch.float32}


def test_other_classes_are_refused_with_the_differences(tmp_path: Path) -> None:
    save_segmenter(small_unet(), tmp_path, NAMES)
    with pytest.raises(ModelError, match=r"without 'car'; with 'tree'"):
        load_segmenter(tmp_path, ("sky", "road", "car"), device=CPU)
    with pytest.raises(ModelError, match=r"3 classes instead of 1; with 'road', 'tree'"):
        load_segmenter(tmp_path, ("sky",), device=CPU)


def test_an_empty_folder_and_a_wrong_number_of_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no segmentation network"):
        load_segmenter(tmp_path, NAMES, device=CPU)
    with pytest.raises(ModelError, match=r"has 3 classes and 1 class names"):
        save_segmenter(small_unet(), tmp_path, ("sky",))


def test_classes_in_another_order_are_brought_into_the_data_sets_order(tmp_path: Path) -> None:
    net = small_unet()
    save_segmenter(net, tmp_path, NAMES)
    turned = load_segmenter(tmp_path, ("road", "tree", "sky"), device=CPU)
    images = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(turned(images).scores, net(images).scores[:, [1, 2, 0]])


def test_layers_and_size_can_be_chosen(tmp_path: Path) -> None:
    save_segmenter(small_unet(), tmp_path, NAMES)
    chosen = load_segmenter(tmp_path, NAMES, device=CPU, layers=["up0", "down2"], size_px=32)
    seen = chosen(torch.rand(1, 3, 64, 96))
    assert list(seen.features) == ["up0", "down2"]
    assert seen.features["up0"].shape[-2:] == (16, 24)
    assert seen.scores.shape == (1, 3, 64, 96)
    with pytest.raises(UsageError, match=r"Unknown layer of CompactUNet 'up4'.*Did you mean 'up"):
        load_segmenter(tmp_path, NAMES, device=CPU, layers=["up4"])
