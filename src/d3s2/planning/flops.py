"""Work of the published networks, and what a GPU gets through: for plans of runs that cannot be tried out here.

A forward pass of an image is counted in TFLOP at 512 x 512 px, two operations a multiply-add, and taken to grow with
the number of pixels. A gradient by the weights costs two passes more, one by the image a single one.

What each network costs stands on its entry: `nets.fresh`, `hub.cards`, the generators' kinds.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch

from d3s2.generator import GENERATORS, GeneratorKind
from d3s2.model_cards import MODEL_CARDS
from d3s2.nets import ARCHITECTURES, Architecture
from d3s2.nets.inputs import Preprocessing, Windows
from d3s2.pipeline import RunConfig

Work = Literal["diffusion", "segmentation"]
COUNTED_PX = 512 * 512


class Gpu(NamedTuple):
    """A card and its dense 16-bit matrix operations a second, in TFLOP, by its data sheet."""

    name: str
    tflops: float


GPUS = (
    Gpu("A100", 312.0),
    Gpu("H100", 989.0),
    Gpu("H200", 989.0),
    Gpu("L40S", 362.0),
    Gpu("V100", 125.0),
    Gpu("T4", 65.0),
    Gpu("RTX 4090", 165.0),
    Gpu("RTX 3090", 71.0),
)
REFERENCE = GPUS[0]
"""What GPU hours are given for on a machine without a card that is named here."""

SUSTAINED: Mapping[Work, float] = {"diffusion": 0.15, "segmentation": 0.023}
"""Share of a card's operations that a network gets. Source: segmentation, FreeMask's log of Mask2Former Swin-S, 0.41 s
a step of 16 crops of 512 x 512 px on 8 V100; diffusion, an assumption: FreeDoM's 84 to 120 s an image with ControlNet
on an RTX 3090 come to 0.12 to 0.18."""


def gpu_of(device: torch.device) -> Gpu:
    """The card that `device` is, or the one for reference."""
    return gpu_named(torch.cuda.get_device_name(device) if device.type == "cuda" else "")


def gpu_named(name: str) -> Gpu:
    """The card whose name is part of `name`, or the one for reference."""
    return next((gpu for gpu in GPUS if gpu.name in name), REFERENCE)


def seconds_on(gpu: Gpu, work: Work, tflop: float) -> float:
    """How long a card needs for so many operations."""
    return tflop / (gpu.tflops * SUSTAINED[work])


def image_s(config: RunConfig, gpu: Gpu) -> float | None:
    """GPU seconds for all images of one mask; None where teacher or generator are not published ones."""
    settings, guidance, teacher = config.synthesize, config.synthesize.guidance, teacher_tflop(config)
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    if teacher is None or kind.counted is None:
        return None
    cost = kind.counted.cost(config.generator, config.data.size)
    network = cost.network * (1 if settings.guidance_scale == 1 else 2)
    images = settings.candidates + (1 if settings.unguided_too else 0)
    # of each traced step the teacher sees the prediction once; a gradient is a pass there and one back
    guided_share = max(0.0, min(guidance.window.noisiest, settings.start) - guidance.window.cleanest)
    in_window = settings.steps * guided_share
    taken = settings.steps_taken + in_window * (settings.repeats - 1)
    traced = taken / settings.trace_every if settings.trace_every else 0.0
    gradients = settings.candidates * in_window * settings.repeats * guidance.inner_steps / guidance.every
    through = 0.0 if guidance.rule == "fast" else network
    diffusion = images * (taken * network + traced * cost.guidance_decoder + cost.decoder)
    diffusion += gradients * (2 * cost.guidance_decoder + through)
    seen = images * (traced + 1) * teacher + gradients * 2 * teacher * max(1, guidance.views.count)
    return seconds_on(gpu, "diffusion", diffusion) + seconds_on(gpu, "segmentation", seen)


def fit_s_on(config: RunConfig, gpu: Gpu) -> float | None:
    """GPU seconds of a generator's fit upon a published one, three passes a pair as if all its weights learnt; None
    where nothing is known of it."""
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    if kind.counted is None:
        return None
    work = 3 * config.generator.num_fit_pairs * kind.counted.cost(config.generator, config.data.size).network
    return seconds_on(gpu, "diffusion", work)


def teacher_tflop(config: RunConfig) -> float | None:
    """One forward pass of the run's teacher; None where it is neither a published network nor fitted as one."""
    if config.teacher.source is None:
        entry: Architecture = ARCHITECTURES.load(config.teacher.architecture.name)
        return None if entry.tflop is None else entry.tflop * teacher_passes(config)
    card = MODEL_CARDS.get(config.teacher.source)
    return None if card is None or card.tflop is None else card.tflop * teacher_passes(config)


def teacher_passes(config: RunConfig) -> float:
    """As how many images of 512 x 512 px the run's teacher sees one of the run."""
    card = MODEL_CARDS.get(config.teacher.source or "")
    height, width = config.data.size
    if card is None:
        return pixel_share((height, width))
    if card.window_px is not None:
        seen_whole = Preprocessing(window_px=card.window_px).input_px(height, width)
        return len(Windows(*seen_whole).starts) * pixel_share((card.window_px, card.window_px))
    seen = config.teacher.size_px
    if isinstance(seen, int):
        seen = (seen * height // min(height, width), seen * width // min(height, width))
    return pixel_share(seen or (height, width))


def pixel_share(size: tuple[int, int]) -> float:
    """Pixels of an image against those that passes are counted at."""
    return size[0] * size[1] / COUNTED_PX


def basis(gpu: Gpu) -> tuple[str, str]:
    """What such estimates rest on, for a person."""
    shares = " and ".join(f"{100 * share:g} % of that in {work} networks" for work, share in SUSTAINED.items())
    return (
        "GPU times are not measured: operations counted on the networks' shapes, on one GPU.",
        f"Assumed: an {gpu.name}, {gpu.tflops:g} TFLOP/s (dense, 16 bit, by its data sheet), gets through {shares}.",
    )
