"""Guidance rules: from a noisy latent to a prediction that is pulled towards low energy.

| name      | symbol   | meaning                                                                   |
|-----------|----------|---------------------------------------------------------------------------|
| clean     | x0       | the model's prediction                                                     |
| by_clean  | g0       | gradient of the energy by x0                                               |
| by_noisy  | gt       | gradient of the energy by x_t, through the network                         |
| direction | g / |g|  | a gradient divided by its root mean square over the item                   |
| update    | u        | root mean square of x_t - alpha x0, what the model itself takes off as noise |
| strength  | s        | fraction of the model's own update                                         |
| share     | r        | part of the strength that goes through the network                          |

    x0 <- x0 - s u ((1 - r) g0 / |g0| + r gt / |gt|)

with the first term taken in several inner steps where that is asked for. `fast` is r = 0 and never back-propagates the
diffusion network, `full` is r = 1, `both` lies between. Because the step is a fraction of the model's own update, one
strength serves every model, data set and loss weight. In terms of the predicted noise a step of x0 <- x0 - s u d is
e <- e + s (alpha / sigma) u d: classifier guidance with a weight that is free of scale.

A new rule is a function like those at the end, and a line in `settings.RULES`.

Source: the family and its inner steps as in TFG (arXiv 2409.15761, algorithm 1); `full` alone is Universal Guidance
(arXiv 2302.07121), `fast` alone is MPGD (arXiv 2311.16424); the rms rule as in FreeDoM (arXiv 2303.09833).
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from d3s2.base.finite import not_finite
from d3s2.generator import Denoiser, Level
from d3s2.synthesis.settings import GuidanceSettings


@runtime_checkable
class LatentEnergy(Protocol):
    """How badly each clean image (or latent) of a batch fits what is wanted; lower is better."""

    def __call__(self, clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        """One energy an item, differentiable."""


class Pulled(NamedTuple):
    """What a rule makes of a step.

    Args:
        clean: the prediction after guidance.
        direction: that it was pulled along, clean = (the model's prediction) - s u direction; may be held.
        refused: items of which a gradient was not finite, and was not applied.
    """

    clean: Float[Tensor, "b c h w"]
    direction: Float[Tensor, "b c h w"]
    refused: Bool[Tensor, " b"]


@runtime_checkable
class Rule(Protocol):
    """How a step is guided."""

    def __call__(
        self, denoiser: Denoiser, energy: LatentEnergy, x: Float[Tensor, "b c h w"], level: Level, how: GuidanceSettings
    ) -> Pulled:
        """The pulled prediction for a noisy latent."""


def fast(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level, how: GuidanceSettings) -> Pulled:
    """Along the gradient by the prediction; the diffusion network is never differentiated."""
    return _pulled(_gradients_by_clean(denoiser, energy, x, level), energy, x, level, how, share=0.0)


def full(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level, how: GuidanceSettings) -> Pulled:
    """Along the gradient by the noisy latent, through the diffusion network."""
    return _pulled(_gradients(denoiser, energy, x, level), energy, x, level, how, share=1.0)


def both(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level, how: GuidanceSettings) -> Pulled:
    """Along both, `how.full_share` of the strength through the network."""
    found = _gradients if how.full_share > 0 else _gradients_by_clean
    return _pulled(found(denoiser, energy, x, level), energy, x, level, how, share=how.full_share)


def direction_of(gradient: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Of root mean square 1 for each item; 0 where the gradient is 0, or is refused."""
    usable = torch.where(not_finite(gradient)[:, None, None, None], torch.zeros_like(gradient), gradient)
    near_one, _ = _scaled(usable)
    rms = near_one.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return near_one / torch.where(rms > 0, rms, torch.ones_like(rms))


def own_update(x: Float[Tensor, "b c h w"], clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b 1 1 1"]:
    """u above: root mean square of what the model itself takes off."""
    near_one, largest = _scaled(x - level.alpha * clean)
    return largest * near_one.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()


def stepped(clean: Tensor, size: Tensor, direction: Tensor) -> Tensor:
    """The prediction after a step of `size` against `direction`, in its own format."""
    return (clean - size * direction).to(clean.dtype)


def _pulled(
    found: "_Gradients", energy: LatentEnergy, x: Tensor, level: Level, how: GuidanceSettings, share: float
) -> Pulled:
    size = how.strength * own_update(x, found.clean, level)
    clean, directions, refused = found.clean, [], torch.zeros(len(x), dtype=torch.bool, device=x.device)
    if share < 1:
        part = (1 - share) / how.inner_steps
        for step in range(how.inner_steps):
            slope = found.by_clean if step == 0 else _slope(energy, clean, level)
            refused |= not_finite(slope)
            directions.append(part * direction_of(slope))
            clean = stepped(clean, size, directions[-1])
    if found.by_noisy is not None:
        refused |= not_finite(found.by_noisy)
        directions.append(share * direction_of(found.by_noisy))
        clean = stepped(clean, size, directions[-1])
    return Pulled(clean, torch.stack(directions).sum(dim=0), refused)


class _Gradients(NamedTuple):
    """A prediction, and the slopes of its energy; none by x_t where the network was not differentiated."""

    clean: Tensor
    by_clean: Tensor
    by_noisy: Tensor | None


def _gradients(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level) -> _Gradients:
    """Both gradients at the price of the one by x_t, since the other lies on the way to it."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        clean = denoiser(leaf, level)
        by_clean, by_noisy = torch.autograd.grad(energy(clean, level).sum(), (clean, leaf))
    return _Gradients(clean.detach(), by_clean.to(torch.float32), by_noisy.to(torch.float32))


def _gradients_by_clean(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level) -> _Gradients:
    clean = denoiser(x, level)
    return _Gradients(clean, _slope(energy, clean, level), None)


def _slope(energy: LatentEnergy, clean: Tensor, level: Level) -> Tensor:
    with torch.enable_grad():
        leaf = clean.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(energy(leaf, level).sum(), leaf)
    return gradient.to(torch.float32)


def _scaled(x: Tensor) -> tuple[Tensor, Float[Tensor, "b 1 1 1"]]:
    """Each item divided by its largest element, whose squares neither over- nor underflow; and that element."""
    largest = x.abs().amax(dim=(1, 2, 3), keepdim=True)
    return x / torch.where(largest > 0, largest, torch.ones_like(largest)), largest
