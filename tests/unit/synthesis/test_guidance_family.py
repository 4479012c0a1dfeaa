"""`fast`, `full` and `both` are one family; the energy may be smoothed by noise on the prediction."""

import pytest
import torch
from torch import Tensor

from d3s2.base.seeds import torch_generator
from d3s2.generator.compact.network import bind, new_generator
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.samplers import initial_noise
from d3s2.nets.compact.unet import CompactUNet
from d3s2.synthesis.guidance import guide, smooth
from d3s2.synthesis.rules import LatentEnergy
from d3s2.synthesis.settings import GuidanceSettings
from d3s2.teacher.losses import segmentation_consistency

MIDDLE = Level(alpha=0.5, sigma=0.5, time=0.5)
STRENGTH = 0.3
SIDE_PX = 8


@pytest.fixture(scope="module")
def teacher() -> CompactUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactUNet(num_classes=3, width=8).double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def mask() -> Tensor:
    return torch.randint(0, 3, (1, SIDE_PX, SIDE_PX), generator=torch_generator(0, "mask"), dtype=torch.uint8)


def denoiser_for(masks: Tensor) -> Denoiser:
    model = new_generator(0, num_classes=3, channels=(32, 32)).double().eval().requires_grad_(False)
    return bind(model, masks)


def energy_for(teacher: CompactUNet, masks: Tensor) -> LatentEnergy:
    def energy(clean: Tensor, level: Level) -> Tensor:
        return segmentation_consistency(teacher((clean + 1) / 2).scores, masks)

    return energy


def start(count: int = 1) -> Tensor:
    return initial_noise([torch_generator(0, "start", index) for index in range(count)], (3, SIDE_PX, SIDE_PX)).double()


def test_both_with_share_0_is_fast_and_with_share_1_is_full_to_the_last_bit(teacher: CompactUNet, mask: Tensor) -> None:
    denoiser, energy = denoiser_for(mask), energy_for(teacher, mask)
    with torch.no_grad():
        for inner_steps in (1, 3):
            fast, full, none, whole = (
                guide(
                    denoiser,
                    energy,
                    GuidanceSettings(strength=STRENGTH, rule=mode, full_share=share, inner_steps=inner_steps),
                )
                for mode, share in (("fast", 0.5), ("full", 0.5), ("both", 0.0), ("both", 1.0))
            )
            assert torch.equal(none(start(), MIDDLE), fast(start(), MIDDLE))
            assert torch.equal(whole(start(), MIDDLE), full(start(), MIDDLE))
            assert not torch.equal(fast(start(), MIDDLE), full(start(), MIDDLE))


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_both_is_the_sum_of_its_parts(teacher: CompactUNet, mask: Tensor, share: float) -> None:
    denoiser, energy = denoiser_for(mask), energy_for(teacher, mask)
    with torch.no_grad():
        clean = denoiser(start(), MIDDLE)
        fast, full, both = (
            guide(denoiser, energy, GuidanceSettings(strength=STRENGTH, rule=mode, full_share=share))(start(), MIDDLE)
            - clean
            for mode in ("fast", "full", "both")
        )
        torch.testing.assert_close(both, (1 - share) * fast + share * full, rtol=1e-6, atol=1e-9)


def test_the_step_of_both_on_a_smoothed_energy_agrees_with_finite_differences(
    teacher: CompactUNet, mask: Tensor
) -> None:
    """All of x0's and of x_t's slopes, the noise of the smoothed energy held fixed."""
    x, share, spread, bump = start(), 0.4, 0.2, 1e-6
    noise = spread * MIDDLE.sigma * initial_noise([torch_generator(0, "smooth")], tuple(x.shape[1:])).double()
    size = x[0].numel()
    bumps = bump * torch.eye(size, dtype=torch.float64).reshape(size, *x.shape[1:])
    masks = mask.expand(2 * size, -1, -1)
    energy = energy_for(teacher, masks)

    def slopes(values: Tensor) -> Tensor:
        return ((values[:size] - values[size:]) / (2 * bump)).reshape(x.shape)

    with torch.no_grad():
        clean = denoiser_for(mask)(x, MIDDLE)
        by_clean = slopes(energy(torch.cat([clean + bumps, clean - bumps]) + noise, MIDDLE))
        predicted = denoiser_for(masks)(torch.cat([x + bumps, x - bumps]), MIDDLE)
        by_noisy = slopes(energy(predicted + noise, MIDDLE))
        update = rms(x - MIDDLE.alpha * clean)
        step = (1 - share) * by_clean / rms(by_clean) + share * by_noisy / rms(by_noisy)
        expected = clean - STRENGTH * update * step

        smoothed = smooth(energy_for(teacher, mask), spread, [torch_generator(0, "smooth")])
        guided = guide(denoiser_for(mask), smoothed, GuidanceSettings(strength=STRENGTH, rule="both", full_share=share))
        torch.testing.assert_close(guided(x, MIDDLE), expected, rtol=1e-5, atol=1e-5)


def rms(values: Tensor) -> Tensor:
    return values.pow(2).mean().sqrt()


@pytest.mark.parametrize(("mode", "asked"), [("fast", 3), ("full", 1), ("both", 3)])
def test_both_asks_for_no_more_energies_than_fast_since_one_pass_gives_both_gradients(
    teacher: CompactUNet, mask: Tensor, mode: str, asked: int
) -> None:
    count = 0

    def energy(clean: Tensor, level: Level) -> Tensor:
        nonlocal count
        count += 1
        return energy_for(teacher, mask)(clean, level)

    with torch.no_grad():
        guide(denoiser_for(mask), energy, GuidanceSettings(strength=STRENGTH, rule=mode, inner_steps=3))(
            start(), MIDDLE
        )
    assert count == asked


def test_smoothing_by_nothing_is_the_energy_itself(teacher: CompactUNet, mask: Tensor) -> None:
    energy, generator = energy_for(teacher, mask), torch_generator(0, "smooth")
    before = generator.get_state()
    assert smooth(energy, 0.0, [generator]) is energy
    assert torch.equal(generator.get_state(), before)


def test_a_smoothed_energy_is_the_mean_over_its_noises() -> None:
    """Of the square of x the mean over noise is x^2 + spread^2 sigma^2."""
    clean = start()

    def square(at: Tensor, level: Level) -> Tensor:
        return at.pow(2).mean(dim=(1, 2, 3))

    found = smooth(square, 0.5, [torch_generator(0, "smooth")], draws=4000)(clean, MIDDLE)
    assert float(found - square(clean, MIDDLE)) == pytest.approx((0.5 * MIDDLE.sigma) ** 2, rel=0.02)


def test_the_noise_of_a_smoothed_energy_depends_on_the_item_and_not_on_its_batch() -> None:
    clean = start(2)

    def total(at: Tensor, level: Level) -> Tensor:
        return at.sum(dim=(1, 2, 3))

    alone = smooth(total, 0.5, [torch_generator(0, "item-1")])(clean[1:], MIDDLE)
    beside = smooth(total, 0.5, [torch_generator(0, "item-0"), torch_generator(0, "item-1")])(clean, MIDDLE)
    assert torch.equal(beside[1:], alone)
    assert float(beside[1] - clean[1].sum()) != 0.0
