"""Our samplers against diffusers' schedulers, on one small denoiser with a known answer for every x and level."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.samplers import ddim, dpm_solver_2m
from d3s2.generator.schedules import levels_of

# diffusers' DPM-Solver hands a tensor to numpy in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
START = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def denoise(x: Tensor, level: Level) -> Tensor:
    """Bounded, and different at each place and level."""
    return torch.tanh(0.7 * x + 0.01 * x.roll(1, -1)) * (1 - 0.4 * level.sigma)


def noise_of(x: Tensor, level: Level) -> Tensor:
    return (x - level.alpha * denoise(x, level)) / level.sigma


def velocity_of(x: Tensor, level: Level) -> Tensor:
    """v = alpha e - sigma x0; also right where alpha is 0."""
    return level.alpha * noise_of(x, level) - level.sigma * denoise(x, level)


def walked(scheduler: Any, num_steps: int, output: Callable[[Tensor, Level], Tensor], **step: Any) -> Tensor:
    """diffusers' own loop."""
    levels = levels_of(scheduler, num_steps)
    scheduler.set_timesteps(num_steps)
    x = START.clone()
    for time, level in zip(scheduler.timesteps, levels[:-1], strict=True):
        assert float(time) == level.time
        x = scheduler.step(output(x, level), time, x, **step).prev_sample
    return x


def ours(sampler: Callable[..., Tensor], scheduler: Any, num_steps: int, **options: Any) -> Tensor:
    denoiser: Denoiser = denoise
    return sampler(denoiser, START.clone(), levels_of(scheduler, num_steps), **options)


@pytest.mark.parametrize("num_steps", [1, 7, 20, 50])
@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
def test_ddim_equals_diffusers_for_leading_steps(num_steps: int, to_one: bool, offset: int) -> None:
    scheduler = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=to_one, steps_offset=offset)
    expected = walked(scheduler, num_steps, noise_of)
    torch.testing.assert_close(ours(ddim, scheduler, num_steps), expected, **TOLERANCE)


def test_ddim_equals_diffusers_for_trailing_steps_and_zero_terminal_snr() -> None:
    scheduler = DDIMScheduler(
        **STABLE_DIFFUSION,
        clip_sample=False,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
    )
    expected = walked(scheduler, 20, velocity_of)
    torch.testing.assert_close(ours(ddim, scheduler, 20), expected, **TOLERANCE)


@pytest.mark.parametrize("eta", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim_with_fresh_noise_equals_diffusers(eta: float, to_one: bool) -> None:
    scheduler = DDIMScheduler(**STABLE_DIFFUSION, clip_sample=False, set_alpha_to_one=to_one)
    expected = walked(scheduler, 20, noise_of, eta=eta, generator=torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(3)
    found = ours(ddim, scheduler, 20, eta=eta, fresh_noise=lambda: torch.randn(START.shape, generator=rng))
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize("num_steps", [1, 2, 8, 14, 15, 25])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("final", ["zero", "sigma_min"])
def test_dpm_solver_equals_diffusers(num_steps: int, spacing: str, final: str) -> None:
    scheduler = DPMSolverMultistepScheduler(**STABLE_DIFFUSION, timestep_spacing=spacing, final_sigmas_type=final)
    expected = walked(scheduler, num_steps, noise_of)
    torch.testing.assert_close(ours(dpm_solver_2m, scheduler, num_steps), expected, **TOLERANCE)


def test_dpm_solver_with_karras_sigmas_equals_diffusers() -> None:
    scheduler = DPMSolverMultistepScheduler(**STABLE_DIFFUSION, use_karras_sigmas=True)
    expected = walked(scheduler, 20, noise_of)
    torch.testing.assert_close(ours(dpm_solver_2m, scheduler, 20), expected, **TOLERANCE)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_ddim_under_flow_matching_equals_euler_of_diffusers(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    levels = levels_of(scheduler, 12)
    x = START.clone()
    for time, level in zip(scheduler.timesteps, levels[:-1], strict=True):
        velocity = noise_of(x, level) - denoise(x, level)  # v = e - x0
        x = scheduler.step(velocity, time, x).prev_sample
    torch.testing.assert_close(ours(ddim, scheduler, 12), x, **TOLERANCE)


def test_pndm_is_read_as_ddim_of_the_same_settings() -> None:
    # The scheduler that Stable Diffusion 1.x ships; its own list of times holds one of them twice.
    settings = {**STABLE_DIFFUSION, "steps_offset": 1, "set_alpha_to_one": False}
    assert levels_of(PNDMScheduler(**settings, skip_prk_steps=True), 20) == levels_of(DDIMScheduler(**settings), 20)
