from itertools import pairwise
from typing import get_args

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler, VQDiffusionScheduler
from torch import Tensor

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.seeds import torch_generator
from d3s2.generator.denoiser import Level
from d3s2.generator.samplers import SAMPLERS, TimeTravel, ddim, dpm_solver_2m, initial_noise
from d3s2.generator.schedules import levels_of
from d3s2.generator.settings import NoiseWindow
from d3s2.synthesis.guidance import guide
from d3s2.synthesis.settings import GuidanceSettings, SynthesizeSettings

FLOW = tuple(Level(alpha=1 - t, sigma=t, time=t) for t in (1.0, 0.75, 0.5, 0.25, 0.0))
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
X = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
TARGET = torch.linspace(-1, 1, 48).reshape(1, 3, 4, 4)


def exact(x: Tensor, level: Level) -> Tensor:
    """A denoiser that knows the answer."""
    return TARGET.to(x).expand_as(x)


def test_the_samplers_that_a_run_file_may_name_are_these() -> None:
    assert set(get_args(SynthesizeSettings.model_fields["sampler"].annotation)) == set(SAMPLERS)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_denoiser_that_knows_the_answer_is_followed_to_it(name: str) -> None:
    torch.testing.assert_close(SAMPLERS[name](exact, X, FLOW), TARGET)


def test_time_travel_repeats_the_steps_of_its_window_only() -> None:
    seen: list[float] = []

    def counting(x: Tensor, level: Level) -> Tensor:
        seen.append(level.time)
        return exact(x, level)

    noise = torch.Generator().manual_seed(1)
    ddim(
        counting,
        X,
        FLOW,
        travel=TimeTravel(3, NoiseWindow(noisiest=0.75, cleanest=0.5)),
        fresh_noise=lambda: torch.randn(X.shape, generator=noise),
    )
    assert seen == [1.0, 0.75, 0.75, 0.75, 0.5, 0.5, 0.5, 0.25]


def test_time_travel_puts_noise_of_the_right_spread_back() -> None:
    many = torch.zeros(1, 1, 200, 200)
    rng = torch.Generator().manual_seed(2)
    levels = FLOW[1:3]
    x = ddim(
        lambda x, level: torch.zeros_like(x),
        torch.randn(many.shape, generator=rng) * levels[0].sigma,
        levels,
        travel=TimeTravel(4),
        fresh_noise=lambda: torch.randn(many.shape, generator=rng),
    )
    assert abs(float(x.std()) - levels[1].sigma) < 0.01


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("schedule", [FLOW, (Level(0.5, 0.5, 0.5), Level(0.9, 0.1, 0.1), Level(0.95, 0.05, 0.05))])
def test_fresh_noise_leaves_as_much_as_the_level_has(eta: float, schedule: tuple[Level, ...]) -> None:
    """The clean image is known to be 0, so that x is noise alone, of the deviation of its level."""
    rng = torch.Generator().manual_seed(4)
    x = schedule[0].sigma * torch.randn(1, 1, 300, 300, generator=rng)
    for level, after in pairwise(schedule):
        x = ddim(
            lambda x, level: torch.zeros_like(x),
            x,
            (level, after),
            eta=eta,
            fresh_noise=lambda: torch.randn(1, 1, 300, 300, generator=rng),
        )
        assert float(x.std()) == pytest.approx(after.sigma, rel=0.02)


def test_fresh_noise_is_that_of_the_posterior_of_gaussians() -> None:
    """With eta = 1 a step draws x_s given x_t and x0; its variance by conditioning the joint one of x_s and x_t."""
    level, after = Level(0.5, 0.5, 0.5), Level(0.9, 0.1, 0.1)
    # x_s = alpha_s x0 + sigma_s e; x_t = a x_s + b e', so that x_t has its own level's noise
    a = level.alpha / after.alpha
    joint = torch.tensor([[after.sigma**2, a * after.sigma**2], [a * after.sigma**2, level.sigma**2]])
    expected = float(joint[0, 0] - joint[0, 1] * joint[1, 0] / joint[1, 1]) ** 0.5
    drawn = ddim(lambda x, _: x, torch.zeros_like(X), (level, after), eta=1.0, fresh_noise=lambda: torch.ones_like(X))
    torch.testing.assert_close(drawn, torch.full_like(X, expected))
    assert expected < after.sigma


@pytest.mark.parametrize(
    "window",
    [NoiseWindow(cleanest=cleanest, noisiest=noisiest) for cleanest, noisiest in ((0.1, 0.5), (0.1, 0.9), (0.0, 1.0))],
)
@pytest.mark.parametrize("schedule", [FLOW, levels_of(DDIMScheduler(**STABLE_DIFFUSION), 20)])
def test_time_travel_repeats_the_steps_that_guidance_of_the_same_window_guides(
    window: NoiseWindow, schedule: tuple[Level, ...]
) -> None:
    asked: list[float] = []
    guided: list[float] = []

    def counting(x: Tensor, level: Level) -> Tensor:
        asked.append(level.time)
        return exact(x, level)

    def energy(clean: Tensor, level: Level) -> Tensor:
        guided.append(level.time)
        return clean.pow(2).sum(dim=(1, 2, 3))

    rng = torch.Generator().manual_seed(1)
    ddim(
        guide(counting, energy, GuidanceSettings(strength=0.1, window=window)),
        X,
        schedule,
        travel=TimeTravel(2, window),
        fresh_noise=lambda: torch.randn(X.shape, generator=rng),
    )
    assert guided
    assert {time for time in asked if asked.count(time) == 2} == set(guided)
    assert all(guided.count(time) == 2 for time in guided)


def test_drawing_without_fresh_noise_is_refused() -> None:
    with pytest.raises(UsageError, match="give fresh_noise"):
        ddim(exact, X, FLOW, eta=0.5)
    with pytest.raises(UsageError, match="give fresh_noise"):
        ddim(exact, X, FLOW, travel=TimeTravel(2))


def test_dpm_solver_refuses_eta() -> None:
    with pytest.raises(UsageError, match=r"eta is 0\.5, but dpm-solver-2m is deterministic"):
        dpm_solver_2m(exact, X, FLOW, eta=0.5)


def test_no_step_is_refused() -> None:
    with pytest.raises(UsageError, match="steps is 0, expected at least 1"):
        levels_of(LCMScheduler(), 0)


def test_scheduler_without_alphas_is_refused() -> None:
    with pytest.raises(ModelError, match="VQDiffusionScheduler has no alphas_cumprod"):
        levels_of(VQDiffusionScheduler(num_vec_classes=4), 3)
    with pytest.raises(ModelError, match="use_flow_sigmas is not known here"):
        levels_of(DPMSolverMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction"), 3)


def test_initial_noise_of_an_item_depends_on_no_batch() -> None:
    one = initial_noise([torch_generator(0, "b")], (4, 2, 2))
    two = initial_noise([torch_generator(0, "a"), torch_generator(0, "b")], (4, 2, 2))
    assert torch.equal(one[0], two[1])
