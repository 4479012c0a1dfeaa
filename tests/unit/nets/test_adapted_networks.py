"""Every architecture passes one contract."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_networks import CLASS_NAMES, KINDS, save_tiny

from d3s2.base.errors import ModelError, UsageError
from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.loading import NETWORKS, load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.nets.trainable import Trainable

CPU = torch.device("cpu")
ODD = (37, 51)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {kind: tmp_path_factory.mktemp(kind) for kind in KINDS}
    for kind, folder in made.items():
        save_tiny(kind, folder)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_the_contract_of_a_segmenter(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU)
    assert isinstance(net, Segmenter)
    assert isinstance(net, Trainable)
    images = torch.rand(2, 3, *ODD, generator=torch.Generator().manual_seed(1)).requires_grad_()
    seen = net(images)
    assert net.num_classes == len(CLASS_NAMES)
    assert seen.scores.shape == (2, len(CLASS_NAMES), *ODD)
    assert list(seen.features) == ["backbone0", "backbone1", "backbone2", "backbone3", "decoder"]
    assert all(map_.ndim == 4 and len(map_) == 2 for map_ in seen.features.values())
    strides = [seen.features[f"backbone{level}"].shape[-1] for level in range(4)]
    assert strides == sorted(strides, reverse=True)
    (seen.scores[:, 0] - seen.scores[:, 1]).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_features_carry_gradients_to_the_image_and_can_be_chosen(kind: str, folders: dict[str, Path]) -> None:
    names = ["decoder", *(["decoder1", "decoder3"] if kind == "mask2former" else []), "backbone1"]
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU, layers=names)
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    features = net(images).features
    assert list(features) == names
    for name in names:
        (gradient,) = torch.autograd.grad(features[name].square().sum(), images, retain_graph=True)
        assert gradient.abs().max() > 0
    with pytest.raises(UsageError, match=r"Unknown layer of .*'neck'"):
        load_segmenter(folders[kind], CLASS_NAMES, device=CPU, layers=["neck"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_network_is_frozen_and_repeats_itself(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(str(folders[kind]), CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    assert not net.training
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in net.parameters())
    images, state = torch.rand(1, 3, *ODD), torch.get_rng_state()
    assert torch.equal(net(images).scores, net(images).scores)
    assert torch.equal(state, torch.get_rng_state())
    assert not net.network._forward_hooks


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_losses_are_float32_under_autocast(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    images, masks = torch.rand(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8)
    whole = net(images).scores.softmax(dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = net(images).scores
        loss = net.loss(images, masks) if net.family.loss is not None else scores.mean()
    assert scores.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(scores.softmax(dim=1), whole, atol=0.1, rtol=0)


def test_upernet_refuses_to_learn_from_one_image(folders: dict[str, Path]) -> None:
    net = load_segmenter(folders["upernet"], CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    with pytest.raises(UsageError, match=r"cannot learn from one image; give batches of 2 or more"):
        net.train().loss(torch.rand(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_guidance_size_is_what_the_network_sees(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU, size_px=32)
    seen = net(torch.rand(1, 3, 96, 128))
    assert seen.scores.shape[-2:] == (96, 128)
    assert seen.features["backbone0"].shape[-2:] == (8, 16 if NETWORKS[kind].divisor == 32 else 11)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_merged_into_the_classes_of_the_data_set(kind: str, folders: dict[str, Path]) -> None:
    images = torch.rand(1, 3, 64, 64)
    p = load_segmenter(folders[kind], CLASS_NAMES, device=CPU)(images).scores.softmax(dim=1)
    table = {"outside": ["sky", "tree"]}
    net = load_segmenter(folders[kind], ("car", "outside", "road"), device=CPU, label_map=table)
    merged = net(images).scores.softmax(dim=1)
    torch.testing.assert_close(merged, torch.stack([p[:, 3], p[:, 0] + p[:, 2], p[:, 1]], dim=1))
    with pytest.raises(ModelError, match=r"4 classes instead of 3; without 'outside'; with 'sky', 'tree'"):
        load_segmenter(folders[kind], ("car", "outside", "road"), device=CPU)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_again(kind: str, half: bool, folders: dict[str, Path], tmp_path: Path) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    names = ("a", "b", "c", "d")
    save_segmenter(net, tmp_path / "net", names, half=half)
    again = load_segmenter(tmp_path / "net", names, device=CPU)
    images = torch.rand(1, 3, *ODD)
    tolerance = {"atol": 0.3, "rtol": 0.1} if half else {"atol": 1e-6, "rtol": 1e-6}
    torch.testing.assert_close(again(images).scores, net(images).scores, **tolerance)
    stored = load_file(tmp_path / "net" / "model.safetensors")
    kinds = {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()}
    assert kinds == {torch.float16 if half else torch.float32}
    with pytest.raises(ModelError, match=r"has 4 classes and 1 class names are given"):
        save_segmenter(net, tmp_path / "net", ("a",))


def test_a_teacher_only_network_and_a_mapped_one_are_not_trained(folders: dict[str, Path]) -> None:
    images, masks = torch.rand(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.uint8)
    teacher = load_segmenter(folders["maskformer"], CLASS_NAMES, device=CPU)
    assert isinstance(teacher, AdaptedSegmenter)
    with pytest.raises(ModelError, match=r"serves as a teacher only"):
        teacher.loss(images, masks)
    mapped = load_segmenter(folders["segformer"], CLASS_NAMES[::-1], device=CPU)
    assert isinstance(mapped, AdaptedSegmenter)
    with pytest.raises(ModelError, match=r"cannot be trained on them"):
        mapped.loss(images, masks)


def test_a_backbone_without_its_head_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["segformer"], tmp_path / "net")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"2 weights are missing \(decode_head.classifier.bias"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)


def test_pickled_weights_are_refused_unless_asked_for(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["segformer"], tmp_path / "net")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: these weights are pickled, and a pickle can run code"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)
    allowed = load_segmenter(folder, CLASS_NAMES, device=CPU, allow_pickle=True)
    images = torch.rand(1, 3, 32, 32)
    whole = load_segmenter(folders["segformer"], CLASS_NAMES, device=CPU)
    torch.testing.assert_close(allowed(images).scores, whole(images).scores)


def test_another_kind_of_network_and_a_damaged_folder_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["segformer"], tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "segfomer"}))
    with pytest.raises(UsageError, match=r"Unknown kind of segmentation network .*'segfomer'.*mean 'segformer'"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)
    (folder / "config.json").write_text(json.dumps({**config, "decoder_hidden_size": 24}))
    with pytest.raises(ModelError, match=r"cannot be read as SegformerForSemanticSegmentation"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)
    (folder / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"config.json: input should be an object, got a list of 0; get"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"there are no weights"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)
