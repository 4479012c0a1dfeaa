"""The contract that every generator keeps: (x_t, level) -> x0.

| name    | symbol            | meaning                                                          |
|---------|-------------------|------------------------------------------------------------------|
| x       | x_t               | noisy image or latent, x_t = alpha x0 + sigma e, e ~ N(0, 1)     |
| clean   | x0                | the model's prediction of the image or latent without noise       |
| alpha   | sqrt(alpha-bar_t) | share of the signal; 1 - t under flow matching                    |
| sigma   | sqrt(1 - alpha-bar_t) | share of the noise; t under flow matching                     |
| time    | t                 | what the network is told, in its own unit                         |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """One noise level of a schedule: x = alpha x0 + sigma noise; `time` is in the network's own unit."""

    alpha: float
    sigma: float
    time: float

    @property
    def noise_share(self) -> float:
        """sigma / (alpha + sigma), comparable between schedules: 1 is pure noise, 0 none."""
        return self.sigma / (self.alpha + self.sigma)


Schedule = Sequence[Level]
"""Levels from the noisiest to the last; sampling ends at the last one, so n steps take n + 1 levels."""


@runtime_checkable
class Denoiser(Protocol):
    """Predicts the clean image or latent. Conditions (mask, prompt) are bound inside."""

    def __call__(self, x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        """x0 for a batch at one noise level."""
