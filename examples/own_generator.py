"""A generator of one's own: pixels of a class are Gaussian around its colour, so the best denoiser is a formula.

PYTHONPATH=examples d3s2 distill scenes 'generator={kind: "own_generator:GAUSSIAN", deviation: 0.3}'
"""

from types import SimpleNamespace

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from d3s2.generator import GeneratorKind, LayoutToImageSettings


class Settings(LayoutToImageSettings):
    """What a run file may say below `generator`."""

    deviation: float = 0.2


def load(settings, space, device):
    """What `LayoutToImage` asks for: its latent is the image in -1..1, its denoiser E[x0 | x_t]."""
    colours = torch.zeros(256, 3, device=device)
    colours[: space.num_classes] = torch.from_numpy(space.colours).to(device) / 127.5 - 1

    def bind(masks, guidance_scale):
        mean = colours[masks.long()].permute(0, 3, 1, 2)

        def denoiser(x, level):
            noise_to_spread = level.sigma / settings.deviation
            return mean + level.alpha / (level.alpha**2 + noise_to_spread**2) * (x - level.alpha * mean)

        return denoiser

    return SimpleNamespace(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        latent_shape=lambda size_px: (3, *size_px),
        bind=bind,
        decode=lambda latents, for_guidance=False: (latents + 1) / 2,
        as_record=lambda: {"kind": settings.kind, "deviation": settings.deviation},
    )


GAUSSIAN = GeneratorKind(settings=Settings, load=load)
