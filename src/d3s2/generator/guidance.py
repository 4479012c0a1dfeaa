"""Guidance: a function that takes a denoiser and an energy and returns a denoiser.

| name      | symbol   | meaning                                                                   |
|-----------|----------|---------------------------------------------------------------------------|
| clean     | x0       | the model's prediction                                                     |
| gradient  | g        | of the energy: by x0 (`fast`) or by x_t through the network (`full`)        |
| direction | g / |g|  | g divided by its root mean square over the item                            |
| update    | u        | root mean square of x_t - alpha x0, what the model itself takes off as noise |
| strength  | s        | fraction of the model's own update: x0 <- x0 - s u g / |g|                 |

Because the step is a fraction of the model's own update, one strength serves every model, data set and loss weight. In
terms of the predicted noise the same step is e <- e + s (alpha / sigma) u g / |g|: classifier guidance with a weight
that is free of scale.

Source: classifier guidance (arXiv 2105.05233); `full` as in Universal Guidance (arXiv 2302.07121), `fast` as in MPGD
(arXiv 2311.16424); the rms rule as in FreeDoM (arXiv 2303.09833).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from d3s2.base.errors import NumericError
from d3s2.generator.denoiser import Denoiser, Level

Mode = Literal["fast", "full"]
SMALLEST_RMS = 1e-12


@runtime_checkable
class Energy(Protocol):
    """How badly each clean image (or latent) of a batch fits what is wanted; lower is better."""

    def __call__(self, clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        """One energy an item, differentiable."""


@dataclass(frozen=True)
class Window:
    """The part of the schedule in which guidance acts, in shares of noise sigma / (alpha + sigma): 1 is pure noise."""

    noisiest: float = 0.9
    cleanest: float = 0.1

    def holds(self, level: Level) -> bool:
        """Whether guidance acts at this level."""
        return self.cleanest <= level.sigma / (level.alpha + level.sigma) <= self.noisiest


@dataclass
class Refusals:
    """Counts gradients that were not finite; more than `allowed` for one item end the work.

    Args:
        items: what messages call the items of the batch.
        allowed: steps an item may take unguided for that reason.
    """

    items: tuple[str, ...]
    allowed: int = 3
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.items)

    def note(self, refused: Bool[Tensor, " b"]) -> None:
        """Adds a step; raises NumericError for an item that was refused too often."""
        for index in refused.nonzero().flatten().tolist():
            self.counts[index] += 1
            if self.counts[index] > self.allowed:
                raise NumericError(
                    f"Item '{self.items[index]}': the guidance gradient was not finite at {self.counts[index]} steps, "
                    f"at most {self.allowed} are allowed; lower synthesize.strength, or use float32."
                )


def guide(
    denoiser: Denoiser,
    energy: Energy,
    *,
    strength: float,
    mode: Mode = "fast",
    window: Window = Window(),
    inner_steps: int = 1,
    every: int = 1,
    refusals: Refusals | None = None,
) -> Denoiser:
    """The denoiser whose predictions are pulled towards low energy.

    Args:
        denoiser: the model.
        energy: of the clean prediction.
        strength: s above, 0 is no guidance; about 0.02 to 0.3.
        mode: `fast` never back-propagates the diffusion network, `full` does.
        window: where it acts.
        inner_steps: `fast` only: gradient steps at each level, each of size strength / inner_steps.
        every: acts at the first and then at every n-th level of the window.
        refusals: keeps count of gradients that are not finite, which are never applied.
    """
    calls_in_window = 0

    def guided(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        nonlocal calls_in_window
        if strength == 0 or not window.holds(level):
            return denoiser(x, level)
        calls_in_window += 1
        if (calls_in_window - 1) % every:
            return denoiser(x, level)
        if mode == "full":
            clean, gradient = _gradient_by_noisy(denoiser, energy, x, level)
            return _stepped(clean, gradient, strength * _own_update(x, clean, level), refusals)
        clean = denoiser(x, level)
        size = strength / inner_steps * _own_update(x, clean, level)
        for _ in range(inner_steps):
            clean = _stepped(clean, _gradient_by_clean(energy, clean, level), size, refusals)
        return clean

    return guided


def watch(denoiser: Denoiser, look: Callable[[Tensor, Level], None]) -> Denoiser:
    """The same denoiser; `look` sees each prediction, for example to record its energies."""

    def watched(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        clean = denoiser(x, level)
        look(clean.detach(), level)
        return clean

    return watched


def _gradient_by_clean(energy: Energy, clean: Tensor, level: Level) -> Tensor:
    with torch.enable_grad():
        leaf = clean.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(energy(leaf, level).sum(), leaf)
    return gradient.to(torch.float32)


def _gradient_by_noisy(denoiser: Denoiser, energy: Energy, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        clean = denoiser(leaf, level)
        (gradient,) = torch.autograd.grad(energy(clean, level).sum(), leaf)
    return clean.detach(), gradient.to(torch.float32)


def _own_update(x: Tensor, clean: Tensor, level: Level) -> Float[Tensor, "b 1 1 1"]:
    return _rms(x - level.alpha * clean)


def _stepped(clean: Tensor, gradient: Tensor, size: Tensor, refusals: Refusals | None) -> Tensor:
    finite = torch.isfinite(gradient).all(dim=(1, 2, 3))
    if refusals is not None:
        refusals.note(~finite)
    usable = torch.where(finite[:, None, None, None], gradient, torch.zeros_like(gradient))
    direction = usable / _rms(usable).clamp(min=SMALLEST_RMS)
    return (clean - size * direction).to(clean.dtype)


def _rms(x: Tensor) -> Float[Tensor, "b 1 1 1"]:
    return x.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
