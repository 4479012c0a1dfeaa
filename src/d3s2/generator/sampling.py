"""One batch of images from masks: schedule, condition, guidance, sampler, decoder, in that order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.finite import not_finite
from d3s2.base.names import choose
from d3s2.generator.denoiser import Denoiser, Level, Schedule
from d3s2.generator.layout_to_image import ImageEncoder, LayoutToImage
from d3s2.generator.samplers import SAMPLERS, TimeTravel, initial_noise
from d3s2.generator.schedules import levels_of

ROUNDING = 1e-6  # levels are made of float32 sigmas


@dataclass(frozen=True)
class Sampling:
    """How a sample is drawn.

    Args:
        sampler: a name in SAMPLERS.
        num_steps: network evaluations.
        guidance_scale: of classifier-free guidance; 1 is none.
        eta: share of fresh noise a step, 0 to 1.
        travel: steps that are repeated.
        start: share of noise that images are given before they are sampled on (SDEdit, arXiv 2108.01073); the noisier
            steps are left out. 1 starts from noise alone.
    """

    sampler: str = "ddim"
    num_steps: int = 24
    guidance_scale: float = 1.5
    eta: float = 0.0
    travel: TimeTravel | None = None
    start: float = 1.0


def sample(
    generator: LayoutToImage,
    masks: UInt8[Tensor, "b h w"],
    noises: Sequence[torch.Generator],
    sampling: Sampling,
    *,
    device: torch.device,
    images: Float[Tensor, "b 3 h w"] | None = None,
    guided: Callable[[Denoiser], Denoiser] | None = None,
    callback: Callable[[Tensor, Level], None] | None = None,
) -> Float[Tensor, "b 3 hh ww"]:
    """RGB images in 0..1 for a batch of masks; NaN throughout where an item's latent or image is not finite.

    Args:
        noises: one CPU generator an item, from which its initial and fresh noise is drawn.
        images: RGB, 0..1, one a mask, that sampling starts from where `sampling.start` is below 1.
        guided: wraps the denoiser, see `guidance.guide`.
        callback: is called with every prediction of the clean latent, after guidance.

    Raises:
        ModelError: sampling starts from images, and the generator has no `encode`.
        UsageError: it starts from images and there are none, or so little noise is asked for that no step is left.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.data import open_split
        >>> from d3s2.generator import GENERATORS, Sampling, sample
        >>> config, device = d3s2.load_run("scenes", ["data.options={count: 2}"]), torch.device("cpu")
        >>> train = open_split(config.data, "train")
        >>> generator = GENERATORS.load("compact").load(config.generator, train.space, device)
        >>> masks = torch.from_numpy(train.mask(train.ids[0]))[None]
        >>> images = sample(generator, masks, [torch.Generator().manual_seed(0)], Sampling(num_steps=2), device=device)
        >>> images.shape
        torch.Size([1, 3, 64, 96])
    """
    height, width = masks.shape[1:]
    shape = generator.latent_shape((height, width))
    schedule: Schedule = levels_of(generator.scheduler, sampling.num_steps, shape[1:])
    denoiser = generator.bind(masks.to(device), sampling.guidance_scale)
    if guided is not None:
        denoiser = guided(denoiser)
    if callback is not None:
        denoiser = _with_callback(denoiser, callback)
    with torch.no_grad():
        first = initial_noise(noises, shape).to(device)
        if sampling.start < 1:
            schedule = levels_from(schedule, sampling.start)
            first = schedule[0].alpha * _encoded(generator, images).to(device) + schedule[0].sigma * first
        latents = choose(SAMPLERS, sampling.sampler, "sampler")(
            denoiser,
            first,
            schedule,
            eta=sampling.eta,
            fresh_noise=lambda: initial_noise(noises, shape).to(device),
            travel=sampling.travel,
        )
        made = generator.decode(latents).float()
        broken = not_finite(latents) | not_finite(made)
        return torch.where(broken[:, None, None, None], torch.nan, made.clamp(0, 1))


def levels_from(schedule: Schedule, noise_share: float) -> Schedule:
    """The levels of at most so much noise; raises UsageError where no step is left."""
    left = [level for level in schedule if level.noise_share <= noise_share + ROUNDING]
    if len(left) < 2:
        raise UsageError(
            f"synthesize.start is {noise_share:g}, and no step of {len(schedule) - 1} starts with so little noise; "
            "raise synthesize.start or synthesize.steps."
        )
    return left


def _encoded(generator: LayoutToImage, images: Float[Tensor, "b 3 h w"] | None) -> Float[Tensor, "b c hh ww"]:
    if images is None:
        raise UsageError("Sampling starts below a noise of 1: give the images that it starts from.")
    if not isinstance(generator, ImageEncoder):
        raise ModelError(
            f"Sampling cannot start from images: {type(generator).__name__} has no `encode`; set synthesize.start "
            "to 1, or give the generator one (docs/extending.md)."
        )
    return generator.encode(images)


def _with_callback(denoiser: Denoiser, callback: Callable[[Tensor, Level], None]) -> Denoiser:
    def called(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        clean = denoiser(x, level)
        callback(clean.detach(), level)
        return clean

    return called
