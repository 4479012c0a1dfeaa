"""One batch of images from masks: schedule, condition, guidance, sampler, decoder, in that order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.finite import not_finite
from d3s2.base.names import choose
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.samplers import SAMPLERS, TimeTravel, initial_noise
from d3s2.generator.schedules import levels_of


@dataclass(frozen=True)
class Sampling:
    """How a sample is drawn.

    Args:
        sampler: a name in SAMPLERS.
        num_steps: network evaluations.
        guidance_scale: of classifier-free guidance; 1 is none.
        eta: share of fresh noise a step, 0 to 1.
        travel: steps that are repeated.
    """

    sampler: str = "ddim"
    num_steps: int = 24
    guidance_scale: float = 1.5
    eta: float = 0.0
    travel: TimeTravel | None = None


def sample(
    generator: LayoutToImage,
    masks: UInt8[Tensor, "b h w"],
    noises: Sequence[torch.Generator],
    sampling: Sampling,
    *,
    device: torch.device,
    guided: Callable[[Denoiser], Denoiser] | None = None,
    callback: Callable[[Tensor, Level], None] | None = None,
) -> Float[Tensor, "b 3 hh ww"]:
    """RGB images in 0..1 for a batch of masks; NaN throughout where an item's latent or image is not finite.

    Args:
        noises: one CPU generator an item, from which its initial and fresh noise is drawn.
        guided: wraps the denoiser, see `guidance.guide`.
        callback: is called with every prediction of the clean latent, after guidance.
    """
    height, width = masks.shape[1:]
    shape = generator.latent_shape((height, width))
    schedule = levels_of(generator.scheduler, sampling.num_steps, shape[1:])
    denoiser = generator.bind(masks.to(device), sampling.guidance_scale)
    if guided is not None:
        denoiser = guided(denoiser)
    if callback is not None:
        denoiser = _with_callback(denoiser, callback)
    with torch.no_grad():
        latents = choose(SAMPLERS, sampling.sampler, "sampler")(
            denoiser,
            initial_noise(noises, shape).to(device),
            schedule,
            eta=sampling.eta,
            fresh_noise=lambda: initial_noise(noises, shape).to(device),
            travel=sampling.travel,
        )
        images = generator.decode(latents).float()
        broken = not_finite(latents) | not_finite(images)
        return torch.where(broken[:, None, None, None], torch.nan, images.clamp(0, 1))


def _with_callback(denoiser: Denoiser, callback: Callable[[Tensor, Level], None]) -> Denoiser:
    def called(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        clean = denoiser(x, level)
        callback(clean.detach(), level)
        return clean

    return called
