"""A guidance rule of one's own: every value of the prediction moves by the same amount, whatever its gradient's size.

    PYTHONPATH=examples d3s2 distill scenes synthesize.guidance.rule=own_rule:signs

A rule takes the model, the energy, a noisy latent and its level, and gives the pulled prediction, the direction that it
was pulled along, and the items whose gradient was not finite.
"""

import torch
from torch import Tensor

from d3s2.base.finite import not_finite
from d3s2.generator import Denoiser, Level
from d3s2.synthesis import GuidanceSettings, LatentEnergy, Pulled, own_update, stepped


def signs(denoiser: Denoiser, energy: LatentEnergy, x: Tensor, level: Level, how: GuidanceSettings) -> Pulled:
    """x0 <- x0 - s u sign(g0)."""
    clean = denoiser(x, level)
    with torch.enable_grad():
        leaf = clean.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(energy(leaf, level).sum(), leaf)
    refused = not_finite(slope)
    direction = torch.where(refused[:, None, None, None], 0, slope.sign())
    return Pulled(stepped(clean, how.strength * own_update(x, clean, level), direction), direction, refused)
