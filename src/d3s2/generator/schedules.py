"""Noise schedules, taken from diffusers' schedulers so that a model's own settings decide.

Levels are float64 numbers; samplers turn them into factors of the tensors' own dtype.
"""

import warnings

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from d3s2.base.errors import ModelError, UsageError
from d3s2.generator.denoiser import Level

CELLS_PER_PATCH = 4
"""Of a latent, in the patches of 2 x 2 that schedules which shift with the image's size count."""


def levels_of(
    scheduler: SchedulerMixin, num_steps: int, latent_size: tuple[int, int] | None = None
) -> tuple[Level, ...]:
    """The `num_steps` + 1 levels on which `scheduler` would sample.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler, DPMSolverMultistepScheduler or DDIMScheduler; one of another kind
            with `alphas_cumprod` (PNDM, DDPM, Euler ...) is read as the DDIM scheduler of the same settings.
        num_steps: network evaluations, at least 1.
        latent_size: (height, width) of the latent; a schedule that shifts with the image's size (FLUX) asks for it.

    Raises:
        UsageError: fewer than one step.
        ModelError: a scheduler of another kind, or one that shifts without a size.
    """
    if num_steps < 1:
        raise UsageError(f"num_steps is {num_steps}, expected at least 1.")
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return _flow_levels(scheduler, num_steps, latent_size)
    if isinstance(scheduler, DPMSolverMultistepScheduler):
        return _dpm_solver_levels(scheduler, num_steps)
    if hasattr(scheduler, "alphas_cumprod"):
        return _ddim_levels(DDIMScheduler.from_config(scheduler.config), num_steps)
    raise ModelError(
        f"Scheduler {type(scheduler).__name__} has no alphas_cumprod and is no flow matching; "
        "give the model a DDIM or FlowMatchEulerDiscrete scheduler."
    )


def _flow_levels(
    scheduler: FlowMatchEulerDiscreteScheduler, num_steps: int, latent_size: tuple[int, int] | None
) -> tuple[Level, ...]:
    # The scheduler's own default ends at its smallest training sigma, then 0; evenly spaced sigmas from 1 to 0
    # take the same number of network evaluations and waste none on the last thousandth.
    raw = np.linspace(1.0, 0.0, num_steps + 1)[:-1]
    scheduler.set_timesteps(sigmas=raw.tolist(), mu=_shift_of(scheduler, latent_size))
    sigmas = scheduler.sigmas.to(torch.float64).tolist()
    return tuple(Level(alpha=1.0 - sigma, sigma=sigma, time=sigma) for sigma in sigmas)


def _shift_of(scheduler: FlowMatchEulerDiscreteScheduler, latent_size: tuple[int, int] | None) -> float | None:
    """mu, linear in the number of patches; None for a schedule that does not ask. Source: arXiv 2403.03206, 5.3.2."""
    how = scheduler.config
    if not how.use_dynamic_shifting:
        return None
    if latent_size is None:
        raise ModelError("This schedule shifts with the image's size; give levels_of the latent's (height, width).")
    patches = latent_size[0] * latent_size[1] / CELLS_PER_PATCH
    slope = (how.max_shift - how.base_shift) / (how.max_image_seq_len - how.base_image_seq_len)
    return float(how.base_shift + slope * (patches - how.base_image_seq_len))


def _dpm_solver_levels(scheduler: DPMSolverMultistepScheduler, num_steps: int) -> tuple[Level, ...]:
    if scheduler.config.use_flow_sigmas:
        raise ModelError(
            "A DPMSolverMultistep scheduler with use_flow_sigmas is not known here; give the model a "
            "FlowMatchEulerDiscrete scheduler."
        )
    with warnings.catch_warnings():  # diffusers hands a tensor to numpy in a way that numpy 2 dislikes
        warnings.simplefilter("ignore", DeprecationWarning)
        scheduler.set_timesteps(num_steps)
    ratios = scheduler.sigmas.to(torch.float64).tolist()  # sigma / alpha
    times = [*scheduler.timesteps.tolist(), 0]
    alphas = [(1.0 + ratio**2) ** -0.5 for ratio in ratios]
    return tuple(
        Level(alpha=alpha, sigma=ratio * alpha, time=float(time))
        for alpha, ratio, time in zip(alphas, ratios, times, strict=True)
    )


def _ddim_levels(scheduler: DDIMScheduler, num_steps: int) -> tuple[Level, ...]:
    # Each step ends where the next one starts. DDIMScheduler.step subtracts a whole number of training steps instead,
    # which is the same for the spacing 'leading', and for the others where num_steps divides the training steps.
    scheduler.set_timesteps(num_steps)
    alphas_cumprod = scheduler.alphas_cumprod.to(torch.float64)
    times = scheduler.timesteps.tolist()
    after_last = times[-1] - scheduler.config.num_train_timesteps // num_steps
    final = alphas_cumprod[after_last] if after_last >= 0 else scheduler.final_alpha_cumprod
    bars = [*(float(alphas_cumprod[time]) for time in times), float(final)]
    return tuple(
        Level(alpha=bar**0.5, sigma=(1.0 - bar) ** 0.5, time=float(time))
        for bar, time in zip(bars, [*times, 0], strict=True)
    )
