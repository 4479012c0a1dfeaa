"""The method's heart: images for masks from a layout-to-image model under the guidance of a frozen teacher.

On a CPU each item goes through the networks alone, on one thread: how sums are ordered depends on the size of a batch
and on the number of threads, and a rounding more or less is a grey level in some image. So there an item is the same
bytes whatever its batch and on however many cores. On a GPU a batch goes through together, the same each time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.runtime import wait_for
from d3s2.base.pixels import to_unit
from d3s2.base.seeds import torch_generator
from d3s2.generator import Denoiser, LayoutToImage, Level, Sampling, TimeTravel, sample
from d3s2.nets import Segmenter
from d3s2.synthesis.guidance import Refusals, guide, smooth
from d3s2.synthesis.items import SampledItem, finished
from d3s2.synthesis.settings import GuidanceSettings, SynthesizeSettings
from d3s2.synthesis.trace import Trace, is_traced, joined
from d3s2.teacher import FeatureBank, energies_of, perturbed


@dataclass(frozen=True)
class ItemNoise:
    """What one item draws from, each a CPU generator.

    Args:
        name: what messages call the item.
        latent: its first latent, and fresh noise on the way.
        views: how the teacher's views of it are perturbed.
        smoothing: noise of the smoothed energy.
        candidate: position among the noises of its mask, from 0.
    """

    name: str
    latent: torch.Generator
    views: torch.Generator
    smoothing: torch.Generator
    candidate: int = 0


@dataclass(frozen=True)
class Sampled:
    """A batch of finished images, in the order of its masks, and how their energies went."""

    items: tuple[SampledItem, ...]
    trace: Trace


def item_noise(seed: int, name: str, candidate: int = 0) -> ItemNoise:
    """What an item draws from depends on the run's seed and its own name alone.

    Examples:
        >>> import torch
        >>> from d3s2.synthesis import item_noise
        >>> first, again = (torch.randn(2, generator=item_noise(0, "000003").latent) for _ in range(2))
        >>> bool((first == again).all())
        True
    """
    return ItemNoise(
        name,
        torch_generator(seed, "noise", name, candidate),
        torch_generator(seed, "views", name),
        torch_generator(seed, "smoothing", name),
        candidate,
    )


def guided_sample(
    generator: LayoutToImage,
    teacher: Segmenter,
    bank: FeatureBank,
    masks: UInt8[Tensor, "b h w"],
    noises: Sequence[ItemNoise],
    settings: SynthesizeSettings,
    *,
    device: torch.device,
    images: UInt8[Tensor, "b 3 h w"] | None = None,
    guided: bool = True,
) -> Sampled:
    """One image for each mask.

    Args:
        generator: the layout-to-image model, on `device`.
        teacher: guides, and says what it sees in what came out; frozen, on `device`.
        bank: its statistics of the real data.
        masks: train ids, 255 ignored, at the size of the images.
        noises: one for each mask (`item_noise`); the same noise gives the same image.
        settings: of sampling and guidance.
        images: RGB, 0..255, one a mask, that sampling starts from where `settings.start` is below 1.
        guided: without guidance otherwise, from the same noise.

    Returns: images as they are stored, also those that are not finite: their energies are infinite (`require_finite`).
    Raises:
        UsageError: `settings.start` is below 1 and there are no images, or it leaves no step.
        NumericError: a guidance gradient was not finite at more than three steps of one item; where there are other
            candidates the item is not finite instead.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.data import open_split
        >>> from d3s2.generator import GENERATORS
        >>> from d3s2.hub import resolve_source
        >>> from d3s2.nets import default_layers, load_segmenter
        >>> from d3s2.synthesis import guided_sample, item_noise
        >>> from d3s2.teacher import gather_part, merged_bank
        >>> config = d3s2.load_run("scenes", ["data.options={count: 4}", "synthesize.start=1", "synthesize.steps=3"])
        >>> device, train = torch.device("cpu"), open_split(config.data, "train")
        >>> teacher = load_segmenter(resolve_source(config.teacher.source), train.space.names, device=device)
        >>> generator = GENERATORS.load("compact").load(config.generator, train.space, device)
        >>> image, mask = (torch.from_numpy(of("000003"))[None] for of in (train.image, train.mask))
        >>> real = [(image.permute(0, 3, 1, 2) / 255, mask)]
        >>> bank = merged_bank([gather_part(teacher, real, default_layers(teacher))], {})
        >>> noises = [item_noise(config.seed, "000003")]
        >>> made = guided_sample(generator, teacher, bank, mask, noises, config.synthesize, device=device)
        >>> made.items[0].image.shape, sorted(made.items[0].energies)
        ((64, 96, 3), ['features', 'segmentation'])
    """
    together = sampled_together(len(masks), device)
    with reproducible(device):
        parts = [
            _sampled(
                generator,
                teacher,
                bank,
                masks[start : start + together].to(device),
                noises[start : start + together],
                None if images is None else images[start : start + together],
                settings,
                guided,
            )
            for start in range(0, len(masks), together)
        ]
    return Sampled(tuple(item for part in parts for item in part.items), joined([part.trace for part in parts]))


def sampled_together(count: int, device: torch.device) -> int:
    """How many of `count` items go through the networks together."""
    return 1 if device.type == "cpu" else count


def _sampled(
    generator: LayoutToImage,
    teacher: Segmenter,
    bank: FeatureBank,
    masks: UInt8[Tensor, "b h w"],
    noises: Sequence[ItemNoise],
    images: UInt8[Tensor, "b 3 h w"] | None,
    settings: SynthesizeSettings,
    guided: bool,
) -> Sampled:
    trace, tracing_s = Trace([], {name: [] for name in settings.guidance.energies}), 0.0

    def record(clean: Float[Tensor, "b c h w"], level: Level) -> None:
        nonlocal tracing_s
        trace.noise.append(level.noise_share)
        if not is_traced(len(trace.noise), settings.trace_every):
            trace.add(None, len(masks))
            return
        wait_for(masks.device)
        start = time.perf_counter()
        seen = teacher(generator.decode(clean, for_guidance=True).float())
        trace.add(energies_of(trace.energies, seen, masks, bank), len(masks))
        tracing_s += time.perf_counter() - start

    refusals = Refusals(tuple(noise.name for noise in noises), ends=settings.candidates == 1)  # another may still do
    start = time.perf_counter()
    made = sample(
        generator,
        masks,
        [noise.latent for noise in noises],
        _sampling(settings),
        device=masks.device,
        images=None if images is None else to_unit(images.to(masks.device)),
        guided=_guidance(generator, teacher, bank, masks, noises, settings.guidance, refusals) if guided else None,
        callback=record,
    )
    wait_for(masks.device)
    trace.wall_s = time.perf_counter() - start - tracing_s
    made[refusals.too_many()] = torch.nan
    candidates = [noise.candidate for noise in noises]
    return Sampled(finished(made, masks, candidates, teacher, bank, settings), trace)


def _sampling(settings: SynthesizeSettings) -> Sampling:
    travel = None if settings.repeats == 1 else TimeTravel(settings.repeats, settings.guidance.window)
    return Sampling(settings.sampler, settings.steps, settings.guidance_scale, settings.eta, travel, settings.start)


def _guidance(
    generator: LayoutToImage,
    teacher: Segmenter,
    bank: FeatureBank,
    masks: UInt8[Tensor, "b h w"],
    noises: Sequence[ItemNoise],
    how: GuidanceSettings,
    refusals: Refusals,
) -> Callable[[Denoiser], Denoiser]:
    """What makes a denoiser a guided one."""
    view_noises, smoothing = [noise.views for noise in noises], [noise.smoothing for noise in noises]
    weights = {name: weight for name, weight in how.energies.items() if weight > 0}

    def energy(clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        images = generator.decode(clean, for_guidance=True).float()
        views = [perturbed(images, masks, how.views, view_noises) for _ in range(how.views.count)] or [(images, masks)]
        seen_masks = torch.cat([view[1] for view in views])
        seen = teacher(torch.cat([view[0] for view in views]))
        found = energies_of(weights, seen, seen_masks, bank)
        per_view = {name: value.reshape(len(views), len(masks)).mean(dim=0) for name, value in found.items()}
        return torch.stack([weight * per_view[name] for name, weight in weights.items()]).sum(dim=0)

    smoothed = smooth(energy, how.smoothing, smoothing, draws=how.smoothing_draws)
    return partial(guide, energy=smoothed, how=how, refusals=refusals)
