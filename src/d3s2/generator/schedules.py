"""Noise schedules, taken from diffusers' schedulers so that a model's own settings decide.

Levels are float64 numbers; samplers turn them into factors of the tensors' own dtype.
"""

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from d3s2.base.errors import ModelError, UsageError
from d3s2.generator.denoiser import Level


def levels_of(scheduler: SchedulerMixin, num_steps: int) -> tuple[Level, ...]:
    """The `num_steps` + 1 levels on which `scheduler` would sample.

    Args:
        scheduler: FlowMatchEulerDiscreteScheduler, or one with `alphas_cumprod` (DDIM, DDPM, DPM-Solver ...).
        num_steps: network evaluations, at least 1.

    Raises:
        UsageError: fewer than one step.
        ModelError: a scheduler of another kind.
    """
    if num_steps < 1:
        raise UsageError(f"synthesize.steps is {num_steps}, expected at least 1.")
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return _flow_levels(scheduler, num_steps)
    if hasattr(scheduler, "alphas_cumprod"):
        return _diffusion_levels(scheduler, num_steps)
    raise ModelError(
        f"Scheduler {type(scheduler).__name__} has no alphas_cumprod and is no flow matching; "
        "give the model a DDIM or FlowMatchEulerDiscrete scheduler."
    )


def _flow_levels(scheduler: FlowMatchEulerDiscreteScheduler, num_steps: int) -> tuple[Level, ...]:
    # The scheduler's own default ends at its smallest training sigma, then 0; evenly spaced sigmas from 1 to 0
    # take the same number of network evaluations and waste none on the last thousandth.
    raw = np.linspace(1.0, 0.0, num_steps + 1)[:-1]
    scheduler.set_timesteps(sigmas=raw.tolist())
    sigmas = scheduler.sigmas.to(torch.float64).tolist()
    return tuple(Level(alpha=1.0 - sigma, sigma=sigma, time=sigma) for sigma in sigmas)


def _diffusion_levels(scheduler: SchedulerMixin, num_steps: int) -> tuple[Level, ...]:
    scheduler.set_timesteps(num_steps)
    alphas_cumprod = scheduler.alphas_cumprod.to(torch.float64)
    times = [int(time) for time in scheduler.timesteps]
    spacing = scheduler.config.num_train_timesteps // num_steps
    after_last = times[-1] - spacing
    final = getattr(scheduler, "final_alpha_cumprod", alphas_cumprod[0])
    bars = [float(alphas_cumprod[time]) for time in times]
    bars.append(float(alphas_cumprod[after_last]) if after_last >= 0 else float(final))
    return tuple(
        Level(alpha=bar**0.5, sigma=(1.0 - bar) ** 0.5, time=float(time))
        for bar, time in zip(bars, [*times, 0], strict=True)
    )
