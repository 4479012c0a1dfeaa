"""Every architecture passes one contract."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_networks import CLASS_NAMES, KINDS, WINDOW_PX, WINDOWED, save_tiny
from torch import Tensor

from d3s2.base.errors import ModelError, UsageError
from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.loading import NETWORKS, load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.nets.trainable import Trainable

CPU = torch.device("cpu")
ODD = (37, 51)


def images_of(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


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
    images = images_of(2, *ODD).requires_grad_()
    seen = net(images)
    assert net.num_classes == len(CLASS_NAMES)
    assert seen.scores.shape == (2, len(CLASS_NAMES), *ODD)
    assert isinstance(net, AdaptedSegmenter)
    assert tuple(seen.features) == net.family.default_layers
    assert all(map_.ndim == 4 and len(map_) == 2 for map_ in seen.features.values())
    stages = [map_.shape[-1] for name, map_ in seen.features.items() if name.startswith("backbone")]
    assert stages == sorted(stages, reverse=True)
    (seen.scores[:, 0] - seen.scores[:, 1]).sum().backward()
    assert images.grad is not None
    assert bool(images.grad.isfinite().all())
    assert images.grad.abs().amax(dim=(1, 2, 3)).min() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_features_carry_gradients_to_the_image_and_can_be_chosen(kind: str, folders: dict[str, Path]) -> None:
    names = ["decoder", *(["decoder1", "decoder3"] if kind == "mask2former" else []), "backbone1"]
    names = ["backbone"] if kind == "linear_head" else names
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU, layers=names)
    images = images_of(1, 64, 64).requires_grad_()
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
    images, state = images_of(1, *ODD), torch.get_rng_state()
    assert torch.equal(net(images).scores, net(images).scores)
    assert torch.equal(state, torch.get_rng_state())
    assert not net.network._forward_hooks


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_losses_are_float32_under_autocast(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    images, masks = images_of(2, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8)
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
        net.train().loss(images_of(1, 64, 64), torch.zeros(1, 64, 64, dtype=torch.uint8))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WINDOWED])
def test_a_smaller_guidance_size_is_what_the_network_sees(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU, size_px=32)
    seen = net(images_of(1, 96, 128))
    assert seen.scores.shape[-2:] == (96, 128)
    width = {1: 43, 16: 48, 32: 64}[NETWORKS[kind].divisor]
    stride = 16 if kind == "linear_head" else 4
    assert next(iter(seen.features.values())).shape[-2:] == (32 // stride, math.ceil(width / stride))


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_network_of_one_size_sees_squares_of_it(kind: str, folders: dict[str, Path]) -> None:
    net = load_segmenter(folders[kind], CLASS_NAMES, device=CPU, size_px=WINDOW_PX)
    seen = net(images_of(2, 96, 240))
    assert seen.scores.shape[-2:] == (96, 240)
    assert seen.features["backbone3"].shape[-2:] == (4, 10)
    assert seen.features["decoder"].shape[-2:] == (16, 40)
    with pytest.raises(UsageError, match=r"takes squares of 64 px only and is to see 32; leave the size out"):
        load_segmenter(folders[kind], CLASS_NAMES, device=CPU, size_px=32)


def test_oneformer_without_its_tokenizer_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["oneformer"], tmp_path / "net")
    (folder / "merges.txt").unlink()
    (folder / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"get vocab\.json and merges\.txt of the network too"):
        load_segmenter(folder, CLASS_NAMES, device=CPU)


def test_eomt_of_an_earlier_version_of_transformers_is_read(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(folders["eomt"], tmp_path / "net")
    weights = load_file(folder / "model.safetensors")
    kept = {
        name: tensor for name, tensor in weights.items() if name not in ("attn_mask_probs", "criterion.empty_weight")
    }
    assert len(kept) == len(weights) - 2
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    images = images_of(1, 64, 64)
    old, new = (load_segmenter(one, CLASS_NAMES, device=CPU)(images).scores for one in (folder, folders["eomt"]))
    assert torch.equal(old, new)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_merged_into_the_classes_of_the_data_set(kind: str, folders: dict[str, Path]) -> None:
    images = images_of(1, 64, 64)
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
    images = images_of(1, *ODD)
    # token numbers in the hundreds enter OneFormer as floats, and a product's last bit depends on where its weights lie
    close = 1e-4 if kind == "oneformer" else 1e-6
    tolerance = {"atol": 0.3, "rtol": 0.1} if half else {"atol": close, "rtol": close}
    torch.testing.assert_close(again(images).scores, net(images).scores, **tolerance)
    stored = load_file(tmp_path / "net" / "model.safetensors")
    kinds = {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()}
    assert kinds == {torch.float16 if half else torch.float32}
    with pytest.raises(ModelError, match=r"has 4 classes and 1 class names are given"):
        save_segmenter(net, tmp_path / "net", ("a",))


def test_a_teacher_only_network_and_a_mapped_one_are_not_trained(folders: dict[str, Path]) -> None:
    images, masks = images_of(1, 32, 32), torch.zeros(1, 32, 32, dtype=torch.uint8)
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
    images = images_of(1, 32, 32)
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


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("eomt", {"num_attention_heads": -2}),
        ("segformer", {"num_attention_heads": [1, 1, 2, -2]}),
        ("segformer", {"strides": [4, 2, 2, 0]}),
        ("upernet", {"pool_scales": [1, -2]}),
    ],
)
def test_a_config_whose_network_cannot_be_run_is_named(
    folders: dict[str, Path], tmp_path: Path, kind: str, changes: dict[str, object]
) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / "net")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    net = load_segmenter(folder, CLASS_NAMES, device=CPU)
    with pytest.raises(ModelError, match=rf"^{folder}: the network cannot be run on images of 64 x 96 px \(.*\); look"):
        net(images_of(1, 64, 96))


def test_what_a_network_raises_after_its_first_pass_is_no_fault_of_its_config(folders: dict[str, Path]) -> None:
    net = load_segmenter(folders["segformer"], CLASS_NAMES, device=CPU)
    assert isinstance(net, AdaptedSegmenter)
    net(images_of(1, 32, 32))
    net.network.decode_head.classifier = torch.nn.Conv2d(3, 4, 1)
    with pytest.raises(RuntimeError, match="channels") as raised:
        net(images_of(1, 32, 32))
    assert not isinstance(raised.value, ModelError)
