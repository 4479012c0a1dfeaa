"""A GPU computes what a CPU does, again and again, stopped or not.

The CPU is held against itself too, to the bit, by the same functions: so they run where there is no GPU.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import CLASS_NAMES, KINDS, TASK_LENGTH, save_tiny, tiny_network
from tiny_run import TINY, call, content
from tiny_stable_diffusion import write_pipeline
from tiny_text_to_image import write_flux, write_sd3, write_sdxl
from torch import Tensor, nn

from d3s2.base.config import build
from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.runtime import pick_device
from d3s2.base.progress import SILENT
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import Pairs
from d3s2.generator.compact.kind import fit_trial
from d3s2.generator.compact.network import new_generator, save_generator
from d3s2.generator.compact.settings import CompactFitSettings, CompactSettings
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.sampling import Sampling, sample
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.families.family import AdaptedSegmenter
from d3s2.nets.fresh import adapted
from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import NETWORKS, Network, load_segmenter
from d3s2.planning.living import peak_gib
from d3s2.planning.memory import RESERVED_GIB
from d3s2.similarity import compare, spread_of, vendi_score
from d3s2.store.soft.labels import ERROR_BOUND
from d3s2.student.settings import TrainSettings
from d3s2.student.training import train
from d3s2.synthesis.guided import guided_sample, item_noise
from d3s2.synthesis.items import SampledItem, soft_labels
from d3s2.synthesis.settings import GuidanceSettings, SoftSettings, SynthesizeSettings
from d3s2.teacher.bank import FeatureBank, gather_bank

CPU = torch.device("cpu")
SPACE = LabelSpace("street", CLASS_NAMES)
SIZE = (32, 64)
GENERATOR_KINDS = ("compact", "controlnet")
PUBLISHED = {
    "controlnet": write_pipeline,
    "freestyle": write_pipeline,
    "sdxl": write_sdxl,
    "sd3": write_sd3,
    "flux": write_flux,
}
"""Kind -> what writes its parts with tiny random weights."""
SETTINGS = TrainSettings(iterations=6, batch=2, lr=1e-3)
HOW = SynthesizeSettings(
    steps=4, guidance_scale=1.5, guidance=GuidanceSettings(strength=0.5, rule="full"), trace_every=0
)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"  # by default a GPU rounds their factors to ten bits (TF32)
    try:
        yield pick_device(request.param)
    finally:
        convolutions.fp32_precision = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models")
    for kind, write in PUBLISHED.items():
        write(base / kind)
    save_generator(new_generator(0, num_classes=len(CLASS_NAMES), channels=(32, 32)), base / "compact")
    save_tiny("segformer", base / "teacher")
    return base


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, *SIZE), generator=generator, dtype=torch.uint8)
    blocks = torch.randint(0, 4, (6, 4, 8), generator=generator, dtype=torch.uint8)
    return Pairs(images, blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2))


def generator_of(kind: str, folder: Path, device: torch.device) -> LayoutToImage:
    values: dict[str, Any] = {"model": str(folder / kind)}
    if kind in PUBLISHED:
        values |= {"offline": True}
    if kind in PUBLISHED and kind != "freestyle":
        values |= {"controlnet": str(folder / kind / "controlnet"), "palette": "ade20k"}
    loader = GENERATORS.load(kind)
    return loader.load(build(loader.settings, values, "generator"), SPACE, device)


def network_of(kind: str) -> Network:
    if kind == "oneformer":  # reads its task's tokens too
        inputs, groups = {"task_inputs": torch.zeros(TASK_LENGTH, dtype=torch.long)}, ((0,), (1,), (2,), (3,))
        return AdaptedSegmenter(tiny_network(kind), NETWORKS[kind], Preprocessing(divisor=32), groups, inputs=inputs)
    if kind != "compact-unet":
        return adapted(tiny_network(kind), NETWORKS[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactUNet(num_classes=len(CLASS_NAMES), width=8)


def assert_same(found: Tensor, expected: Tensor, device: torch.device, atol: float) -> None:
    """To the bit on a CPU; within `atol` on a GPU."""
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0 if device.type == "cpu" else atol)


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")
@pytest.mark.parametrize("kind", ["compact", *PUBLISHED])
def test_a_generator_makes_the_same_images(kind: str, folder: Path, device: torch.device) -> None:
    def images(where: torch.device) -> Tensor:
        noises = [torch.Generator().manual_seed(index) for index in range(2)]
        how = Sampling(num_steps=4, guidance_scale=2.0)
        with reproducible(where):
            return sample(generator_of(kind, folder, where), pairs().masks[:2], noises, how, device=where)

    made = images(device)
    assert made.device.type == device.type
    assert_same(made, images(CPU), device, atol=1e-3)


@pytest.mark.parametrize("kind", ["compact-unet", *KINDS])
def test_a_network_gives_the_same_scores_and_gradient(kind: str, device: torch.device) -> None:
    def found(where: torch.device) -> tuple[Tensor, Tensor]:
        net = network_of(kind).to(where).eval()
        images = (pairs().images[:2] / 255).to(where).requires_grad_()
        with reproducible(where):
            scores = net(images).scores
            (gradient,) = torch.autograd.grad(scores.square().mean(), images)
        return scores.detach(), gradient

    scores, gradient = found(device)
    expected, expected_gradient = found(CPU)
    assert scores.device.type == device.type
    assert_same(scores, expected, device, atol=1e-3 * float(expected.abs().max()))
    assert_same(gradient, expected_gradient, device, atol=1e-2 * float(expected_gradient.abs().max()))


def bank_of(folder: Path, device: torch.device) -> FeatureBank:
    teacher = load_segmenter(folder / "teacher", SPACE.names, device=device)
    images, masks = (pairs().images / 255).to(device), pairs().masks.to(device)
    with torch.no_grad(), reproducible(device):
        return gather_bank(teacher, [(images, masks)], list(teacher(images).features), {})


def test_a_feature_bank_holds_the_same_statistics(folder: Path, device: torch.device) -> None:
    found, expected = bank_of(folder, device), bank_of(folder, CPU)
    for layer, means in expected.means.items():
        torch.testing.assert_close(found.means[layer].cpu(), means, rtol=1e-3, atol=1e-4, equal_nan=True)
        torch.testing.assert_close(found.weights[layer].cpu(), expected.weights[layer])
    torch.testing.assert_close(found.losses.cpu(), expected.losses, rtol=1e-3, atol=1e-4, equal_nan=True)


def guided(kind: str, folder: Path, device: torch.device) -> tuple[SampledItem, ...]:
    teacher = load_segmenter(folder / "teacher", SPACE.names, device=device)
    bank = bank_of(folder, CPU).to(device)
    noises = [item_noise(0, f"item {index}") for index in range(2)]
    masks = pairs().masks[:2].to(device)
    made = guided_sample(generator_of(kind, folder, device), teacher, bank, masks, noises, HOW, device=device)
    return made.items


def test_soft_labels_are_the_same_but_for_rounding(device: torch.device) -> None:
    logits = 3 * torch.randn(7, 30, 50, generator=torch.Generator().manual_seed(0))
    settings = SoftSettings(num_top=3, cell_px=4)
    found, expected = (soft_labels(logits.to(where), settings) for where in (device, CPU))
    assert (found.classes == expected.classes).mean() > 0.99
    off = np.abs(found.probabilities() - expected.probabilities()).max()
    assert off <= (0 if device.type == "cpu" else 2 * ERROR_BOUND)


def test_sets_are_compared_with_real_images_by_the_same_numbers(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    real, others = torch.randn(40, 8, generator=generator), torch.randn(9, 8, generator=generator)
    found, expected = (compare(spread_of(real.to(where)), others.to(where)) for where in (device, CPU))
    assert torch.equal(found.nearest, expected.nearest)
    assert_same(found.ratio, expected.ratio, device, atol=1e-4)
    assert (found.density, found.coverage) == pytest.approx((expected.density, expected.coverage))
    assert vendi_score(others.to(device)) == pytest.approx(vendi_score(others), rel=1e-6)


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_guided_images_are_the_same_bytes_twice_and_those_of_a_cpu_to_a_grey_level(
    kind: str, folder: Path, device: torch.device
) -> None:
    first, again, expected = (guided(kind, folder, where) for where in (device, device, CPU))
    for one, other, here in zip(first, again, expected, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert one.energies == other.energies
        far = np.abs(one.image.astype(int) - here.image.astype(int))
        assert np.quantile(far, 0.99) <= (0 if device.type == "cpu" else 1)


def weights(net: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().float().cpu() for tensor in net.state_dict().values()])


class StoppedError(Exception):
    pass


def stop(_: int) -> None:
    raise StoppedError


@pytest.mark.parametrize("kind", ["compact-unet", "segformer"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(kind: str, device: torch.device, tmp_path: Path) -> None:
    through, stopped, resumed = (network_of(kind) for _ in range(3))
    how: dict[str, Any] = {"seed": 7, "device": device}
    kept = {"checkpoint": tmp_path / "checkpoint.pt", "checkpoint_s": 0.0}
    train(through, pairs(), SETTINGS, **how)
    with pytest.raises(StoppedError):
        train(stopped, pairs(), SETTINGS, **how, **kept, callback=stop, callback_every=3)
    train(resumed, pairs(), SETTINGS, **how, **kept, progress=SILENT)
    far = (weights(resumed) - weights(through)).abs()
    # sums on a GPU have no fixed order in training, and Adam makes a step of the sign of a gradient near zero
    assert far.mean() <= (0 if device.type == "cpu" else SETTINGS.lr / 10)


@pytest.mark.parametrize("kind", ["compact-unet", "segformer"])
def test_mixed_precision_learns_nearly_what_float32_does(kind: str, device: torch.device) -> None:
    whole, mixed = network_of(kind), network_of(kind)
    start = weights(whole)
    train(whole, pairs(), SETTINGS, seed=7, device=device)
    train(mixed, pairs(), SETTINGS, seed=7, device=device, autocast=torch.bfloat16)
    far = (weights(mixed) - weights(whole)).abs().mean()
    assert 0 < far < (weights(whole) - start).abs().mean() / 2
    assert {tensor.dtype for tensor in mixed.parameters()} == {torch.float32}


@pytest.mark.gpu
def test_a_card_takes_what_is_counted_for_it() -> None:
    device = torch.device("cuda:0")
    settings = CompactSettings(fit=CompactFitSettings(channels=(96, 160, 256), batch=32))
    step = fit_trial(settings, len(CLASS_NAMES), (128, 128), device).step
    step()  # gradients are there from now on
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    counted = peak_gib(step)
    measured = (torch.cuda.max_memory_allocated(device) - before) / 2**30
    assert 0.9 * counted < measured < counted + RESERVED_GIB


@pytest.mark.gpu
def test_two_students_side_by_side_on_one_gpu_score_as_one_after_the_other(tmp_path: Path) -> None:
    def scores(workers: int) -> list[list[float]]:
        run = tmp_path / str(workers)
        words = (*TINY, "evaluate.sets=[random, all]", f"evaluate.workers={workers}")
        assert call("evaluate", "scenes", *words, "--out", str(run), "--device", "cuda:0") == 0
        return [row["per_seed"]["miou"] for row in json.loads((run / "results.json").read_text())["sets"]]

    np.testing.assert_allclose(scores(2), scores(1), atol=0.02)


@pytest.mark.gpu
def test_a_distilled_set_is_the_same_bytes_twice_on_a_gpu_and_when_items_are_made_again(tmp_path: Path) -> None:
    def distilled(run: Path) -> dict[str, bytes]:
        words = (*TINY, f"teacher.source={models / 'teacher'}", f"generator.model={models / 'generator'}")
        assert call("distill", "scenes", *words, "--out", str(run), "--device", "cuda:0") == 0
        return content(run)

    assert call("fit", "scenes", *TINY, "--out", str(tmp_path / "fitted"), "--device", "cuda:0") == 0
    models = tmp_path / "fitted" / "models"
    first = distilled(tmp_path / "first")
    assert first
    assert distilled(tmp_path / "second") == first
    sorted((tmp_path / "second" / "images").iterdir())[1].unlink()
    assert distilled(tmp_path / "second") == first
