"""Guidance: a function that takes a denoiser and an energy and returns a denoiser; samplers know nothing of it.

It acts within a window of the schedule, by a rule of `rules`. The direction that a rule pulls along may be held: at the
steps between two gradients it is reused, with the strength and the model's own update of each step.

Source: the smoothed energy as in TFG (arXiv 2409.15761, algorithm 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from d3s2.base.errors import NumericError
from d3s2.base.machine.moving import to_device
from d3s2.generator import Denoiser, Level, initial_noise
from d3s2.synthesis.rules import LatentEnergy, Rule, own_update, stepped
from d3s2.synthesis.settings import RULES, GuidanceSettings


@dataclass
class Refusals:
    """Counts steps at which a gradient was not finite; more than `allowed` for one item end the work.

    On a CPU that is at once. On another device it is when the counts are asked for: reading them at every step would
    let the device run dry.

    Args:
        items: what messages call the items of the batch.
        allowed: steps an item may take without some or all of its guidance for that reason.
        ends: raise; False leaves it to the caller to drop the items that have too many.
    """

    items: tuple[str, ...]
    allowed: int = 3
    counts: list[int] = field(default_factory=list)
    ends: bool = True
    unread: list[Bool[Tensor, " b"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * len(self.items)

    def note(self, refused: Bool[Tensor, " b"]) -> None:
        """Adds a step, however many of its gradients were refused; raises NumericError for an item with too many."""
        self.unread.append(refused)
        if refused.device.type == "cpu":
            self._read()

    def too_many(self) -> list[int]:
        """Positions of the items that were refused too often; raises NumericError as `note` does."""
        self._read()
        return [index for index, count in enumerate(self.counts) if count > self.allowed]

    def _read(self) -> None:
        steps = torch.stack(self.unread).tolist() if self.unread else []
        self.unread.clear()
        for index in [index for step in steps for index, refused in enumerate(step) if refused]:
            self.counts[index] += 1
            if self.ends and self.counts[index] > self.allowed:
                raise NumericError(
                    f"Item '{self.items[index]}': the guidance gradient was not finite at {self.counts[index]} steps, "
                    f"at most {self.allowed} are allowed; lower synthesize.guidance.strength, or use float32."
                )


def guide(
    denoiser: Denoiser, energy: LatentEnergy, how: GuidanceSettings, refusals: Refusals | None = None
) -> Denoiser:
    """The denoiser whose predictions are pulled towards low energy.

    Args:
        denoiser: the model.
        energy: of the clean prediction.
        how: rule, strength, window and how often; a step that time travel takes again is one more.
        refusals: keeps count of gradients that are not finite, which are never applied.
    """
    rule: Rule = RULES.load(how.rule)
    steps_in_window = 0
    held: Tensor | None = None

    def guided(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        nonlocal steps_in_window, held
        if how.strength == 0 or not how.window.holds(level.noise_share):
            return denoiser(x, level)
        steps_in_window += 1
        if (steps_in_window - 1) % how.every:
            clean = denoiser(x, level)
            return clean if held is None else stepped(clean, how.strength * own_update(x, clean, level), held)
        pulled = rule(denoiser, energy, x, level, how)
        if refusals is not None:
            refusals.note(pulled.refused)
        held = pulled.direction if how.hold else None
        return pulled.clean

    return guided


def smooth(energy: LatentEnergy, spread: float, noises: Sequence[torch.Generator], *, draws: int = 1) -> LatentEnergy:
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
