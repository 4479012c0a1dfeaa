"""Batches of images for masks: sampled with the run's settings, and what the teacher says of what came out.

On a CPU each item goes through the networks alone, on one thread: how sums are ordered depends on the size of a batch
and on the number of threads, and a rounding more or less is a grey level in some image. So there an item is the same
bytes whatever its batch and on however many cores. On a GPU a batch goes through together, the same each time.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.determinism import reproducible
from d3s2.base.errors import NumericError
from d3s2.base.records import RECORD
from d3s2.base.runtime import wait_for
from d3s2.base.seeds import torch_generator
from d3s2.data.pairs import to_bytes, to_unit
from d3s2.generator.denoiser import Denoiser, Level, Window
from d3s2.generator.guidance import Energy, Refusals, guide, not_finite, smooth
from d3s2.generator.sample import Sampling, sample
from d3s2.generator.samplers import TimeTravel
from d3s2.pipeline.config import GuidanceConfig, SoftConfig
from d3s2.pipeline.fit import Models
from d3s2.pipeline.run import Run
from d3s2.store.soft import SoftLabels, soften
from d3s2.teacher.class_losses import without_doubtful
from d3s2.teacher.judge import Views, agreement, judge, judge_views, losses_of


@dataclass
class Trace:
    """Energies of one batch at the steps where they were taken, and what sampling it cost.

    Args:
        noise: share of noise of each step.
        l_seg, l_feat: per step, one number an item; None at steps that `synthesize.trace_every` leaves out.
        wall_s: sampling alone, the recording of this trace not counted.
    """

    __pydantic_config__ = RECORD

    noise: list[float]
    l_seg: list[list[float | None]]
    l_feat: list[list[float | None]]
    wall_s: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """One finished image and what the teacher says of it.

    Args:
        label: the mask that it was made for, 255 where the filter takes pixels away.
        soft: the teacher's distribution; None where it was not asked for.
        candidate: position of its noise among those of its mask, from 0.
        l_seg, l_feat: energies against the mask; l_seg is infinite where the image or an energy is not finite.
        accuracy: share of the mask's scored pixels where the teacher sees the mask's class.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]
    soft: SoftLabels | None
    candidate: int
    l_seg: float
    l_feat: float
    accuracy: float


@dataclass(frozen=True)
class Sampled:
    """A batch of finished images, in the order of its masks."""

    drawn: tuple[Drawn, ...]
    trace: Trace


def best_of_candidates(run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"]) -> Sampled:
    """Guided images from several noises a mask; of each mask the one with the lowest segmentation energy is kept.

    Raises:
        NumericError: of an item no candidate is finite; the message names it.
    """
    tries = [
        _sampled(run, models, batch, masks, guided=True, candidate=candidate)
        for candidate in range(run.config.synthesize.candidates)
    ]
    kept = tuple(min((one.drawn[index] for one in tries), key=lambda drawn: drawn.l_seg) for index in range(len(batch)))
    traces = [tries[drawn.candidate].trace for drawn in kept]
    steps = range(len(traces[0].noise))
    trace = Trace(
        noise=traces[0].noise,
        l_seg=[[one.l_seg[step][index] for index, one in enumerate(traces)] for step in steps],
        l_feat=[[one.l_feat[step][index] for index, one in enumerate(traces)] for step in steps],
        wall_s=sum(one.trace.wall_s for one in tries),
    )
    return _finite(batch, Sampled(kept, trace))


def sample_batch(
    run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"], *, guided: bool
) -> Sampled:
    """Images for one batch of masks, with a trace of their energies; the same noise with and without guidance.

    Raises:
        NumericError: an image is not finite; the message names its item.
    """
    return _finite(batch, _sampled(run, models, batch, masks, guided=guided))


def _finite(batch: Sequence[str], sampled: Sampled) -> Sampled:
    broken = [item for item, drawn in zip(batch, sampled.drawn, strict=True) if math.isinf(drawn.l_seg)]
    if broken:
        raise NumericError(
            f"Item '{broken[0]}': what was sampled is not finite, or what guided it was not, with any of its noises; "
            "lower synthesize.guidance.strength or synthesize.guidance_scale, or use float32. If neither is large, the "
            "generator's weights are damaged: fit it again with a lower learning rate."
        )
    return sampled


def _sampled(
    run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"], *, guided: bool, candidate: int = 0
) -> Sampled:
    """A batch, item by item where that decides its bytes."""
    together = 1 if run.device.type == "cpu" else len(batch)
    with reproducible(run.device):
        parts = [
            _sampled_together(run, models, batch[start:end], masks[start:end], guided=guided, candidate=candidate)
            for start, end in ((start, start + together) for start in range(0, len(batch), together))
        ]
    return _joined(parts)


def _joined(parts: Sequence[Sampled]) -> Sampled:
    traces = [part.trace for part in parts]
    steps = range(len(traces[0].noise))
    trace = Trace(
        noise=traces[0].noise,
        l_seg=[[value for trace in traces for value in trace.l_seg[step]] for step in steps],
        l_feat=[[value for trace in traces for value in trace.l_feat[step]] for step in steps],
        wall_s=sum(trace.wall_s for trace in traces),
    )
    return Sampled(tuple(drawn for part in parts for drawn in part.drawn), trace)


def _sampled_together(
    run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"], *, guided: bool, candidate: int
) -> Sampled:
    config = run.config.synthesize
    masks = masks.to(run.device)
    noises = [torch_generator(run.config.seed, "noise", source_id, candidate) for source_id in batch]
    refusals = Refusals(tuple(batch), ends=config.candidates == 1)  # another candidate may still do
    trace = Trace([], [], [])
    looking_s = 0.0

    def look(clean: Float[Tensor, "b c h w"], level: Level) -> None:
        nonlocal looking_s
        trace.noise.append(level.noise_share)
        if not is_traced(len(trace.noise), config.trace_every):
            trace.l_seg.append([None] * len(batch))
            trace.l_feat.append([None] * len(batch))
            return
        wait_for(run.device)
        start = time.perf_counter()
        images = models.generator.decode(clean, for_guidance=True).float()
        losses = judge(models.teacher, models.bank, images, masks)
        trace.l_seg.append([*_rounded(losses.l_seg)])
        trace.l_feat.append([*_rounded(losses.l_feat)])
        looking_s += time.perf_counter() - start

    start = time.perf_counter()
    images = sample(
        models.generator,
        masks,
        noises,
        Sampling(config.sampler, config.steps, config.guidance_scale, config.eta, _travel(run)),
        device=run.device,
        guided=_guidance(run, models, batch, masks, refusals) if guided else None,
        look=look,
    )
    wait_for(run.device)
    trace.wall_s = time.perf_counter() - start - looking_s
    images[refusals.too_many()] = torch.nan
    return Sampled(_judged(run, models, images, masks, candidate), trace)


def is_traced(step: int, trace_every: int) -> bool:
    """Whether the energies of step number `step`, from 1, are taken: every n-th, 0 none."""
    return trace_every > 0 and step % trace_every == 0


@torch.no_grad()
def _judged(
    run: Run, models: Models, images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], candidate: int
) -> tuple[Drawn, ...]:
    """The images as they are stored, rounded to bytes, under the eyes of the teacher: it reads them once."""
    broken = not_finite(images)
    stored = to_bytes(torch.where(broken[:, None, None, None], 0.0, images))
    seen = models.teacher(to_unit(stored))
    losses = losses_of(seen, models.bank, masks)
    broken |= ~(torch.isfinite(losses.l_seg) & torch.isfinite(losses.l_feat))
    tau = run.config.synthesize.filter
    labels = masks if tau is None else without_doubtful(masks, seen.scores, models.bank.losses, tau)
    judged_l_seg = torch.where(broken, torch.inf, losses.l_seg)
    l_seg, l_feat, accuracy = map(_rounded, (judged_l_seg, losses.l_feat, agreement(seen.scores, masks)))
    return tuple(
        Drawn(
            image=np.ascontiguousarray(stored[index].permute(1, 2, 0).cpu().numpy()),
            label=labels[index].cpu().numpy(),
            soft=None if broken[index] else _soft_label(seen.scores[index], run.config.synthesize.soft),
            candidate=candidate,
            l_seg=l_seg[index],
            l_feat=l_feat[index],
            accuracy=accuracy[index],
        )
        for index in range(len(stored))
    )


def _soft_label(scores: Float[Tensor, "c h w"], config: SoftConfig | None) -> SoftLabels | None:
    if config is None:
        return None
    return soften(scores.float().softmax(dim=0).cpu().numpy(), config.num_top, config.cell_px)


def _guidance(
    run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"], refusals: Refusals
) -> Callable[[Denoiser], Denoiser]:
    config = run.config.synthesize.guidance
    views = Views(config.views, config.shift_px, config.noise, config.flip)
    shaken = [torch_generator(run.config.seed, "views", source_id) for source_id in batch]
    noises = [torch_generator(run.config.seed, "smoothing", source_id) for source_id in batch]
    bank = models.bank if config.l_feat > 0 else None

    def energy(clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        images = models.generator.decode(clean, for_guidance=True).float()
        losses = judge_views(models.teacher, bank, images, masks, views, shaken, by_class=config.by_class)
        return losses.weighted(config.l_seg, config.l_feat)

    smoothed = smooth(energy, config.smoothing, noises, draws=config.smoothing_draws)
    return guided_by(config, smoothed, refusals)


def guided_by(
    config: GuidanceConfig, energy: Energy, refusals: Refusals | None = None
) -> Callable[[Denoiser], Denoiser]:
    """What makes a denoiser a guided one, by the settings of a run."""
    return partial(
        guide,
        energy=energy,
        strength=config.strength,
        mode=config.mode,
        full_share=config.full_share,
        window=_window(config),
        inner_steps=config.inner_steps,
        every=config.every,
        hold=config.hold,
        refusals=refusals,
    )


def _travel(run: Run) -> TimeTravel | None:
    config = run.config.synthesize
    return None if config.repeats == 1 else TimeTravel(config.repeats, _window(config.guidance))


def _window(config: GuidanceConfig) -> Window:
    return Window(cleanest=config.window[0], noisiest=config.window[1])


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 6) for value in values]
