"""Samplers: flat functions over a denoiser and a schedule. They know of no model and of no guidance.

| name   | symbol       | meaning                                                   |
|--------|--------------|-----------------------------------------------------------|
| noise  | e            | (x_t - alpha_t x0) / sigma_t, the noise that x0 implies    |
| eta    | eta          | share of fresh noise a step; 0 is deterministic            |
| shrink | a            | alpha_t / alpha_s, from a cleaner level s to t             |
| added  | b            | sqrt(sigma_t^2 - (a sigma_s)^2)                            |

From s to t noise is added: x_t = a x_s + b e, under any schedule; where variance is preserved, b^2 = 1 - a^2. So x_s
given x_t and x0 has the standard deviation b sigma_s / sigma_t.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from d3s2.base.errors import UsageError
from d3s2.generator.denoiser import Denoiser, Level, Schedule
from d3s2.generator.settings import NoiseWindow

Sampler = Callable[..., Tensor]
FreshNoise = Callable[[], Tensor]
ALL_OF_IT = NoiseWindow(cleanest=0.0, noisiest=1.0)
FEW_STEPS = 15  # below it the last step of DPM-Solver++ is of first order, which is steadier


def ddim(
    denoiser: Denoiser,
    x: Float[Tensor, "b c h w"],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    fresh_noise: FreshNoise | None = None,
    travel: "TimeTravel | None" = None,
) -> Float[Tensor, "b c h w"]:
    """Denoising diffusion implicit model; under flow matching its steps are Euler's.

    Args:
        denoiser: (x, level) -> x0.
        x: noise at the first level.
        schedule: n + 1 levels.
        eta: 0 (deterministic) to 1 (DDPM's variance, that of x_s given x_t and x0).
        fresh_noise: draws noise shaped like x; needed where eta > 0 or with time travel.
        travel: steps that are repeated.

    Returns: x at the last level.
    Source: arXiv 2010.02502, equations 12 and 16.
    """
    for level, after in _steps(schedule, travel):
        if after.sigma > level.sigma:
            x = _renoised(x, level, after, fresh_noise)
            continue
        clean = denoiser(x, level)
        noise = (x - level.alpha * clean) / level.sigma
        # (1) variance of the fresh noise, (2) direction to x_t, (3) the next x
        fresh = eta * _posterior_deviation(level, after)
        x = after.alpha * clean + math.sqrt(max(after.sigma**2 - fresh**2, 0.0)) * noise
        if fresh > 0:
            x = x + fresh * _drawn(fresh_noise)
    return x


def dpm_solver_2m(
    denoiser: Denoiser,
    x: Float[Tensor, "b c h w"],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    fresh_noise: FreshNoise | None = None,
    travel: "TimeTravel | None" = None,
) -> Float[Tensor, "b c h w"]:
    """DPM-Solver++(2M): second order at one evaluation a step.

    Args:
        denoiser, x, schedule, travel: as for `ddim`.
        eta: must be 0; the solver is deterministic.
        fresh_noise: needed with time travel.

    Returns: x at the last level.
    Raises:
        UsageError: eta is not 0.
    Source: arXiv 2211.01095, algorithm 2.
    """
    if eta:
        raise UsageError(f"eta is {eta}, but dpm-solver-2m is deterministic; set eta to 0, or use ddim.")
    low_order_end = schedule[-1] if len(schedule) - 1 < FEW_STEPS else None
    previous: tuple[Tensor, float] | None = None  # (x0, log signal-to-noise step) of the step before
    for level, after in _steps(schedule, travel):
        if after.sigma > level.sigma:
            x, previous = _renoised(x, level, after, fresh_noise), None
            continue
        clean = denoiser(x, level)
        if after.sigma == 0 or level.alpha == 0:  # log signal-to-noise is infinite: first order, exactly
            x = after.alpha * clean + (after.sigma / level.sigma) * (x - level.alpha * clean)
            previous = None
            continue
        step = _half_log_snr(after) - _half_log_snr(level)
        direction = clean
        if previous is not None and after is not low_order_end:
            ratio = previous[1] / step
            direction = (1 + 1 / (2 * ratio)) * clean - 1 / (2 * ratio) * previous[0]
        x = (after.sigma / level.sigma) * x - after.alpha * math.expm1(-step) * direction
        previous = (clean, step)
    return x


SAMPLERS: dict[str, Sampler] = {"ddim": ddim, "dpm-solver-2m": dpm_solver_2m}


@dataclass(frozen=True)
class TimeTravel:
    """Repeats the steps inside a window of the schedule: noise is put back and the step is taken again.

    Args:
        repeats: how often each step that starts in the window is taken, 1 is once.
        window: where; given the window of the guidance, the steps that are repeated are those that are guided.

    Source: RePaint, arXiv 2201.09865; recurrence in Universal Guidance, arXiv 2302.07121.
    """

    repeats: int
    window: NoiseWindow = ALL_OF_IT

    def times(self, level: Level) -> int:
        """How often the step that starts at `level` is taken."""
        return self.repeats if self.window.holds(level.noise_share) else 1


def initial_noise(generators: Sequence[torch.Generator], shape: tuple[int, int, int]) -> Float[Tensor, "b c h w"]:
    """One float32 noise image per generator, drawn on the CPU: no item depends on its batch or device.

    Examples:
        >>> import torch
        >>> from d3s2.generator import initial_noise
        >>> initial_noise([torch.Generator().manual_seed(seed) for seed in (0, 1)], (3, 8, 12)).shape
        torch.Size([2, 3, 8, 12])
    """
    return torch.stack([torch.randn(shape, generator=generator, dtype=torch.float32) for generator in generators])


def _steps(schedule: Schedule, travel: TimeTravel | None) -> Iterator[tuple[Level, Level]]:
    """Pairs (from, to); a pair that goes up in noise is a step back in time."""
    for level, after in pairwise(schedule):
        yield level, after
        for _ in range((travel.times(level) if travel else 1) - 1):
            yield after, level
            yield level, after


def _renoised(x: Tensor, level: Level, noisier: Level, fresh_noise: FreshNoise | None) -> Tensor:
    shrink, added = _forward_step(level, noisier)
    return shrink * x + added * _drawn(fresh_noise)


def _drawn(fresh_noise: FreshNoise | None) -> Tensor:
    if fresh_noise is None:
        raise UsageError("Sampling with eta above 0 or with time travel draws noise: give fresh_noise.")
    return fresh_noise()


def _posterior_deviation(level: Level, after: Level) -> float:
    """Standard deviation of x_after given x_level and x0; equation 16 with eta = 1 where variance is preserved."""
    _, added = _forward_step(after, level)
    return after.sigma / level.sigma * added


def _forward_step(level: Level, noisier: Level) -> tuple[float, float]:
    """a and b above, from `level` to `noisier`."""
    shrink = noisier.alpha / level.alpha if level.alpha else 0.0
    return shrink, math.sqrt(max(noisier.sigma**2 - (shrink * level.sigma) ** 2, 0.0))


def _half_log_snr(level: Level) -> float:
    return math.log(level.alpha) - math.log(level.sigma)
