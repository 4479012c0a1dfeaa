"""Guidance: a function that takes a denoiser and an energy and returns a denoiser.

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
e <- e + s (alpha / sigma) u d: classifier guidance with a weight that is free of scale. The direction d, what stands in
the brackets, may be held: at the levels between two gradients it goes on, with the s u of each level.

Source: the family, its inner steps and the smoothed energy as in TFG (arXiv 2409.15761, algorithm 1); `full` alone is
Universal Guidance (arXiv 2302.07121), `fast` alone is MPGD (arXiv 2311.16424); the rms rule as in FreeDoM (arXiv
2303.09833).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from d3s2.base.errors import NumericError
from d3s2.base.moving import to_device
from d3s2.generator.denoiser import Denoiser, Level, Window
from d3s2.generator.names import Mode
from d3s2.generator.samplers import initial_noise

MOST_OF_IT = Window()


@runtime_checkable
class Energy(Protocol):
    """How badly each clean image (or latent) of a batch fits what is wanted; lower is better."""

    def __call__(self, clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        """One energy an item, differentiable."""


@dataclass
class Refusals:
    """Counts steps at which a gradient was not finite; more than `allowed` for one item end the work.

    Args:
        items: what messages call the items of the batch.
        allowed: steps an item may take without some or all of its guidance for that reason.
        ends: raise at once; False leaves it to the caller to drop the items that have too many.
    """

    items: tuple[str, ...]
    allowed: int = 3
    ends: bool = True
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.items)

    def note(self, refused: Bool[Tensor, " b"]) -> None:
        """Adds a step, however many of its gradients were refused; raises NumericError for an item with too many."""
        for index in refused.nonzero().flatten().tolist():
            self.counts[index] += 1
            if self.ends and self.counts[index] > self.allowed:
                raise NumericError(
                    f"Item '{self.items[index]}': the guidance gradient was not finite at {self.counts[index]} steps, "
                    f"at most {self.allowed} are allowed; lower synthesize.guidance.strength, or use float32."
                )

    def too_many(self) -> list[int]:
        """Positions of the items that were refused too often."""
        return [index for index, count in enumerate(self.counts) if count > self.allowed]


def guide(
    denoiser: Denoiser,
    energy: Energy,
    *,
    strength: float,
    mode: Mode = "fast",
    full_share: float = 0.5,
    window: Window = MOST_OF_IT,
    inner_steps: int = 1,
    every: int = 1,
    hold: bool = False,
    refusals: Refusals | None = None,
) -> Denoiser:
    """The denoiser whose predictions are pulled towards low energy.

    Args:
        denoiser: the model.
        energy: of the clean prediction.
        strength: s above, 0 is no guidance; about 0.02 to 1.
        mode: `fast` never back-propagates the diffusion network, `full` does, `both` adds the two.
        full_share: `both` only: r above; 0 is `fast`, 1 is `full`.
        window: where it acts.
        inner_steps: of the gradient by x0 at each level, each of the same size; they share the strength.
        every: takes a gradient at the first and then at every n-th level of the window; a level that time travel takes
            again is one more.
        hold: go on along the last direction at the levels between, which are unguided otherwise; an item whose last
            gradient was refused has none.
        refusals: keeps count of gradients that are not finite, which are never applied.
    """
    share = {"fast": 0.0, "full": 1.0, "both": full_share}[mode]
    calls_in_window = 0
    held: Tensor | None = None

    def guided(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        nonlocal calls_in_window, held
        if strength == 0 or not window.holds(level):
            return denoiser(x, level)
        calls_in_window += 1
        if (calls_in_window - 1) % every:
            clean = denoiser(x, level)
            return clean if held is None else _stepped(clean, strength * _own_update(x, clean, level), held)
        found = _gradients(denoiser, energy, x, level) if share > 0 else _gradients_by_clean(denoiser, energy, x, level)
        size = strength * _own_update(x, found.clean, level)
        clean, directions, refused = found.clean, [], torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if share < 1:
            part = (1 - share) / inner_steps
            for step in range(inner_steps):
                slope = found.by_clean if step == 0 else _slope(energy, clean, level)
                refused |= not_finite(slope)
                directions.append(part * _direction(slope))
                clean = _stepped(clean, size, directions[-1])
        if found.by_noisy is not None:
            refused |= not_finite(found.by_noisy)
            directions.append(share * _direction(found.by_noisy))
            clean = _stepped(clean, size, directions[-1])
        if refusals is not None:
            refusals.note(refused)
        held = torch.stack(directions).sum(dim=0) if hold else None
        return clean

    return guided


def smooth(energy: Energy, spread: float, noises: Sequence[torch.Generator], *, draws: int = 1) -> Energy:
    """The energy of a prediction with noise upon it, which a gradient cannot lower by what noise would cover.

    Args:
        energy: of the clean prediction.
        spread: standard deviation of the noise as a share of the level's sigma; 0 is the energy itself.
        noises: one CPU generator an item, from which its noise is drawn, anew at every call.
        draws: how many noises are averaged over; each costs a whole energy.

    Source: arXiv 2409.15761, section 3, the mean over the noise taken of energies.
    """
    if spread == 0:
        return energy

    def smoothed(clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        shape = (clean.shape[1], clean.shape[2], clean.shape[3])
        fresh = [to_device(initial_noise(noises, shape), clean.device).to(clean.dtype) for _ in range(draws)]
        drawn = [spread * level.sigma * noise for noise in fresh]
        return torch.stack([energy(clean + noise, level) for noise in drawn]).mean(dim=0)

    return smoothed


def watch(denoiser: Denoiser, look: Callable[[Tensor, Level], None]) -> Denoiser:
    """The same denoiser; `look` sees each prediction, for example to record its energies."""

    def watched(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        clean = denoiser(x, level)
        look(clean.detach(), level)
        return clean

    return watched


class _Gradients(NamedTuple):
    """A prediction, and the slopes of its energy; none by x_t where the network was not differentiated."""

    clean: Tensor
    by_clean: Tensor
    by_noisy: Tensor | None


def _gradients(denoiser: Denoiser, energy: Energy, x: Tensor, level: Level) -> _Gradients:
    """Both gradients at the price of the one by x_t, since the other lies on the way to it."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_(True)
        clean = denoiser(leaf, level)
        by_clean, by_noisy = torch.autograd.grad(energy(clean, level).sum(), (clean, leaf))
    return _Gradients(clean.detach(), by_clean.to(torch.float32), by_noisy.to(torch.float32))


def _gradients_by_clean(denoiser: Denoiser, energy: Energy, x: Tensor, level: Level) -> _Gradients:
    clean = denoiser(x, level)
    return _Gradients(clean, _slope(energy, clean, level), None)


def _slope(energy: Energy, clean: Tensor, level: Level) -> Tensor:
    with torch.enable_grad():
        leaf = clean.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(energy(leaf, level).sum(), leaf)
    return gradient.to(torch.float32)


def _own_update(x: Tensor, clean: Tensor, level: Level) -> Float[Tensor, "b 1 1 1"]:
    return _rms(x - level.alpha * clean)


def not_finite(x: Float[Tensor, "b c h w"]) -> Bool[Tensor, " b"]:
    """Which items of a batch hold a number that is NaN or infinite."""
    return ~torch.isfinite(x).all(dim=(1, 2, 3))


def _direction(gradient: Tensor) -> Tensor:
    """Of root mean square 1 for each item; 0 where the gradient is 0, or is refused."""
    usable = torch.where(not_finite(gradient)[:, None, None, None], torch.zeros_like(gradient), gradient)
    near_one, _ = _scaled(usable)
    rms = near_one.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return near_one / torch.where(rms > 0, rms, torch.ones_like(rms))


def _stepped(clean: Tensor, size: Tensor, direction: Tensor) -> Tensor:
    return (clean - size * direction).to(clean.dtype)


def _rms(x: Tensor) -> Float[Tensor, "b 1 1 1"]:
    near_one, largest = _scaled(x)
    return largest * near_one.pow(2).mean(dim=(1, 2, 3), keepdim=True).sqrt()


def _scaled(x: Tensor) -> tuple[Tensor, Float[Tensor, "b 1 1 1"]]:
    """Each item divided by its largest element, whose squares neither over- nor underflow; and that element."""
    largest = x.abs().amax(dim=(1, 2, 3), keepdim=True)
    return x / torch.where(largest > 0, largest, torch.ones_like(largest)), largest
