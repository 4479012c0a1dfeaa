"""Guidance on a real tiny generator and a real tiny teacher."""

from functools import partial

import pytest
import torch

from d3s2.base.errors import NumericError
from d3s2.generator.compact.network import bind, flow_scheduler, new_generator
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.samplers import TimeTravel, ddim, initial_noise
from d3s2.generator.schedules import levels_of
from d3s2.generator.settings import NoiseWindow
from d3s2.nets.compact.unet import CompactUNet
from d3s2.synthesis.guidance import Refusals, guide
from d3s2.synthesis.settings import GuidanceSettings
from d3s2.teacher.losses import segmentation_consistency

MIDDLE = Level(alpha=0.5, sigma=0.5, time=0.5)


@pytest.fixture(scope="module")
def parts() -> tuple[Denoiser, CompactUNet, torch.Tensor]:
    masks = torch.randint(0, 3, (2, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = new_generator(0, num_classes=3, channels=(32, 32)).eval().requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        teacher = CompactUNet(num_classes=3, width=8).eval().requires_grad_(False)
    return bind(model, masks), teacher, masks


def energy_of(teacher: CompactUNet, masks: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return segmentation_consistency(teacher((clean + 1) / 2).scores, masks)


def scaled_sum(scale: float, clean: torch.Tensor, level: Level) -> torch.Tensor:
    """Its gradient by the clean image is `scale` everywhere, times a sign that varies."""
    signs = torch.where(torch.arange(clean.shape[-1]) % 3 > 0, 1.0, -1.0)
    return (clean * signs * scale).sum(dim=(1, 2, 3))


def noise() -> torch.Tensor:
    return initial_noise([torch.Generator().manual_seed(i) for i in range(2)], (3, 16, 16))


@pytest.mark.parametrize("mode", ["fast", "full", "both"])
def test_guidance_lowers_the_energy_of_every_item(parts: tuple, mode: str) -> None:
    denoiser, teacher, masks = parts
    schedule = levels_of(flow_scheduler(), 8)

    def energy(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return energy_of(teacher, masks, clean)

    with torch.no_grad():
        plain = ddim(denoiser, noise(), schedule)
        guided = ddim(guide(denoiser, energy, GuidanceSettings(strength=0.2, rule=mode)), noise(), schedule)
        assert (energy_of(teacher, masks, guided) < energy_of(teacher, masks, plain)).all()


def test_strength_zero_and_levels_outside_the_window_change_nothing(parts: tuple) -> None:
    denoiser, _, _ = parts

    def never(clean: torch.Tensor, level: Level) -> torch.Tensor:
        raise AssertionError("the energy must not be asked")

    with torch.no_grad():
        expected = denoiser(noise(), MIDDLE)
        assert torch.equal(guide(denoiser, never, GuidanceSettings(strength=0.0))(noise(), MIDDLE), expected)
        outside = guide(denoiser, never, GuidanceSettings(strength=1.0, window=NoiseWindow(noisiest=0.4)))
        assert torch.equal(outside(noise(), MIDDLE), expected)


def test_a_step_is_the_given_fraction_of_the_models_own_update(parts: tuple) -> None:
    denoiser, _, _ = parts
    with torch.no_grad():
        clean = denoiser(noise(), MIDDLE)
        for scale in (1.0, 1e6):  # the size of the energy has no part in it
            moved = guide(
                denoiser, lambda c, _, k=scale: k * c.pow(2).sum(dim=(1, 2, 3)), GuidanceSettings(strength=0.25)
            )(noise(), MIDDLE)
            own = (noise() - 0.5 * clean).pow(2).mean(dim=(1, 2, 3)).sqrt()
            torch.testing.assert_close((moved - clean).pow(2).mean(dim=(1, 2, 3)).sqrt(), 0.25 * own)


@pytest.mark.parametrize("mode", ["fast", "full"])
def test_the_direction_agrees_with_finite_differences(parts: tuple, mode: str) -> None:
    _, _, masks = parts
    model = new_generator(0, num_classes=3, channels=(32, 32)).double().eval().requires_grad_(False)
    denoiser = bind(model, masks)
    x = noise().double()

    def value(at: torch.Tensor) -> torch.Tensor:
        return (denoiser(at, MIDDLE) if mode == "full" else at).pow(3).mean(dim=(1, 2, 3))

    with torch.no_grad():
        clean = denoiser(x, MIDDLE)
        moved = guide(denoiser, lambda c, _: c.pow(3).mean(dim=(1, 2, 3)), GuidanceSettings(strength=0.1, rule=mode))(
            x, MIDDLE
        )
        step = moved - clean
        base = x if mode == "full" else clean
        for index in ((0, 0, 3, 3), (1, 2, 7, 9), (0, 1, 15, 0)):
            bump = torch.zeros_like(base)
            bump[index] = 1e-5
            slope = (value(base + bump) - value(base - bump))[index[0]] / 2e-5
            others = step[index[0]].flatten()
            reference = step[index] / others.norm()
            gradient = _gradient(value, base)[index[0]].flatten()
            assert float(reference) == pytest.approx(-float(slope / gradient.norm()), rel=1e-3, abs=1e-6)


def _gradient(value: object, base: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        leaf = base.clone().requires_grad_(True)
        return torch.autograd.grad(value(leaf).sum(), leaf)[0]  # type: ignore[operator]


def test_gradients_that_are_not_finite_are_never_applied_and_end_the_item_when_many(parts: tuple) -> None:
    denoiser, _, _ = parts
    refusals = Refusals(("a", "b"), allowed=2)

    def broken(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return clean.pow(2).sum(dim=(1, 2, 3)) * torch.tensor([1.0, float("inf")])

    guided = guide(denoiser, broken, GuidanceSettings(strength=0.1), refusals=refusals)
    with torch.no_grad():
        expected = denoiser(noise(), MIDDLE)
        moved = guided(noise(), MIDDLE)
        assert torch.equal(moved[1], expected[1])
        assert not torch.equal(moved[0], expected[0])
        guided(noise(), MIDDLE)
        with pytest.raises(NumericError, match=r"Item 'b': the guidance gradient was not finite at 3 steps, at most 2"):
            guided(noise(), MIDDLE)


@pytest.mark.parametrize("mode", ["fast", "both"])
def test_a_level_is_refused_once_however_many_gradients_it_takes(parts: tuple, mode: str) -> None:
    denoiser, _, _ = parts
    refusals = Refusals(("a", "b"), allowed=3)

    def broken(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return clean.pow(2).sum(dim=(1, 2, 3)) * torch.tensor([1.0, float("inf")])

    guided = guide(denoiser, broken, GuidanceSettings(strength=0.1, rule=mode, inner_steps=4), refusals=refusals)
    with torch.no_grad():
        for _ in range(3):
            guided(noise(), MIDDLE)
        assert refusals.counts == [0, 3]
        with pytest.raises(NumericError, match=r"Item 'b': the guidance gradient was not finite at 4 steps, at most 3"):
            guided(noise(), MIDDLE)


@pytest.mark.parametrize("scale", [1e25, 1e-15, 1e-22, 1e-36])
@pytest.mark.parametrize("mode", ["fast", "full"])
def test_a_gradient_of_any_size_gives_a_step_of_the_same_size(parts: tuple, scale: float, mode: str) -> None:
    denoiser, _, _ = parts
    with torch.no_grad():
        clean = denoiser(noise(), MIDDLE)
        own = (noise() - 0.5 * clean).pow(2).mean(dim=(1, 2, 3)).sqrt()
        refusals = Refusals(("a", "b"))
        moved = guide(
            denoiser, partial(scaled_sum, scale), GuidanceSettings(strength=0.25, rule=mode), refusals=refusals
        )(noise(), MIDDLE)
    torch.testing.assert_close((moved - clean).pow(2).mean(dim=(1, 2, 3)).sqrt(), 0.25 * own, rtol=1e-4, atol=0)
    assert refusals.counts == [0, 0]


def test_holding_changes_nothing_where_every_level_has_its_gradient(parts: tuple) -> None:
    denoiser, teacher, masks = parts
    schedule = levels_of(flow_scheduler(), 6)

    def energy(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return energy_of(teacher, masks, clean)

    with torch.no_grad():
        plain, held = (
            ddim(guide(denoiser, energy, GuidanceSettings(strength=0.2, every=1, hold=hold)), noise(), schedule)
            for hold in (False, True)
        )
    assert torch.equal(plain, held)


@pytest.mark.parametrize("mode", ["fast", "full", "both"])
@pytest.mark.parametrize("inner_steps", [1, 3])
def test_a_held_step_has_the_last_direction_and_the_size_of_its_own_level(
    parts: tuple, mode: str, inner_steps: int
) -> None:
    denoiser, teacher, masks = parts
    asked = 0

    def energy(clean: torch.Tensor, level: Level) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return energy_of(teacher, masks, clean)

    cleaner = Level(alpha=0.7, sigma=0.3, time=0.3)
    guided = guide(
        denoiser, energy, GuidanceSettings(strength=0.2, rule=mode, inner_steps=inner_steps, every=2, hold=True)
    )
    with torch.no_grad():
        taken = in_own_updates(guided, denoiser, MIDDLE)
        asked_once = asked
        torch.testing.assert_close(in_own_updates(guided, denoiser, cleaner), taken, rtol=1e-4, atol=1e-4)
        assert asked == asked_once
        assert not torch.allclose(in_own_updates(guided, denoiser, cleaner), taken, rtol=1e-2, atol=1e-2)
        assert asked == 2 * asked_once


def in_own_updates(guided: Denoiser, denoiser: Denoiser, level: Level) -> torch.Tensor:
    clean = denoiser(noise(), level)
    own = (noise() - level.alpha * clean).pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return (guided(noise(), level) - clean) / own


@pytest.mark.parametrize("every", [2, 3])
def test_with_the_last_direction_held_an_energy_falls_further(every: int) -> None:
    """The energy is the squared distance to a point; the model sees an image of its own, wherever it is asked."""
    own = noise().clamp(-1, 1)
    target = own + 0.5 * noise().flip(0)
    schedule = levels_of(flow_scheduler(), 12)

    def denoiser(x: torch.Tensor, level: Level) -> torch.Tensor:
        return 0.5 * own + 0.5 * x

    def energy(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return (clean - target).pow(2).sum(dim=(1, 2, 3))

    with torch.no_grad():
        sampled = [
            ddim(
                guide(denoiser, energy, GuidanceSettings(strength=strength, every=every, hold=hold)), noise(), schedule
            )
            for strength, hold in ((0.0, False), (0.1, False), (0.1, True))
        ]
    unguided, without, held = (energy(image, MIDDLE) for image in sampled)
    assert (without < unguided).all()
    assert (held < without).all()


def test_a_gradient_that_is_not_finite_is_not_held_nor_the_one_before_it(parts: tuple) -> None:
    denoiser, _, _ = parts
    factors = torch.tensor([1.0, 1.0])

    def broken_later(clean: torch.Tensor, level: Level) -> torch.Tensor:
        return clean.pow(2).sum(dim=(1, 2, 3)) * factors

    guided = guide(
        denoiser, broken_later, GuidanceSettings(strength=0.1, every=2, hold=True), refusals=Refusals(("a", "b"))
    )
    with torch.no_grad():
        expected = denoiser(noise(), MIDDLE)
        assert not torch.equal(guided(noise(), MIDDLE)[1], expected[1])
        assert not torch.equal(guided(noise(), MIDDLE)[1], expected[1])  # held
        factors = torch.tensor([1.0, float("inf")])
        for _ in range(2):  # refused, and then no direction to hold
            moved = guided(noise(), MIDDLE)
            assert torch.equal(moved[1], expected[1])
            assert not torch.equal(moved[0], expected[0])


def test_a_level_that_time_travel_takes_again_is_one_more_level(parts: tuple) -> None:
    denoiser, _, _ = parts
    asked: list[float] = []

    def energy(clean: torch.Tensor, level: Level) -> torch.Tensor:
        asked.append(level.time)
        return clean.pow(2).sum(dim=(1, 2, 3))

    fresh = torch.Generator().manual_seed(5)
    schedule = levels_of(flow_scheduler(), 6)
    guided = guide(
        denoiser,
        energy,
        GuidanceSettings(strength=0.1, window=NoiseWindow(cleanest=0.0, noisiest=1.0), every=2, hold=True),
    )
    with torch.no_grad():
        ddim(
            guided, noise(), schedule, travel=TimeTravel(2),
            fresh_noise=lambda: torch.randn(2, 3, 16, 16, generator=fresh),
        )  # fmt: skip
    assert asked == [level.time for level in schedule[:-1]]
