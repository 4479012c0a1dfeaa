"""Seconds and memory of a step of the compact networks, tried out on this machine with what a run is configured to.

On a CPU seconds are processor seconds of one thread, so that what else the machine does hardly counts; on a GPU they
are seconds of the clock.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from d3s2.base.machine.runtime import torch_threads, wait_for
from d3s2.data import Pairs
from d3s2.generator import LayoutToImage, Level
from d3s2.nets.compact import CompactUNet
from d3s2.planning.living import GIB, Living, peak_gib
from d3s2.student import TrainSettings, precision_of, train

TRIALS = 5
ENOUGH_S = 10.0
"""No further trial is begun after so many seconds, if there were three."""

PARALLEL_SHARE = 0.85
"""Share of a step's work that more threads divide among them: two cores then take 0.58 of the time of one."""

MOMENT_BYTES = 8
"""Of a weight that learns: AdamW's two moments, which a trial without an optimiser does not have."""


class Trial(NamedTuple):
    """What a step takes.

    Args:
        seconds: the median.
        gib: all tensors that it reads or makes and that live at once, weights and gradients included.
    """

    seconds: float
    gib: float


def with_threads(one_thread_s: float, threads: int, device: torch.device) -> float:
    """What takes `one_thread_s` in one thread takes so long in several, on idle cores (Amdahl's law)."""
    return one_thread_s if device.type != "cpu" else one_thread_s * (1 - PARALLEL_SHARE + PARALLEL_SHARE / threads)


def unet_step(settings: TrainSettings, size_px: tuple[int, int], num_classes: int, device: torch.device) -> Trial:
    """An iteration of a training of the compact U-Net, with all that belongs to one: augmentation, loss, optimiser."""
    net = CompactUNet(num_classes=num_classes, width=settings.width)
    pairs = Pairs(*(torch.zeros(settings.batch, *shape, dtype=torch.uint8) for shape in ((3, *size_px), size_px)))
    one = settings.model_copy(update={"iterations": 1})
    autocast = precision_of(settings, device)
    return tried(lambda: train(net, pairs, one, seed=0, device=device, autocast=autocast), device)


def learning(trial: Trial, num_weights: int, other_bytes: int = 0) -> Trial:
    """A trial of a step with what an optimiser keeps, and `other_bytes` more, of each weight."""
    return trial._replace(gib=trial.gib + (MOMENT_BYTES + other_bytes) * num_weights / GIB)


def denoise_step(
    generator: LayoutToImage, count: int, guidance_scale: float, size_px: tuple[int, int], device: torch.device
) -> Trial:
    """A step of sampling `count` images together, without guidance; its memory is that of the decode too."""
    masks = torch.zeros(count, *size_px, dtype=torch.uint8, device=device)
    denoiser = generator.bind(masks, guidance_scale)
    x = torch.zeros(count, *generator.latent_shape(size_px), device=device)
    with torch.no_grad():
        trial = tried(lambda: denoiser(x, Level(alpha=0.5, sigma=0.5, time=0.5)), device)
    latents = x.requires_grad_()
    decode_gib = peak_gib(lambda: generator.decode(latents, for_guidance=True).sum().backward())
    return trial._replace(gib=trial.gib + decode_gib)


def tried(step: Callable[[], object], device: torch.device) -> Trial:
    """Median seconds of a step, after one that warms up, whose memory is counted."""
    on_cpu = device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    taken: list[float] = []
    with torch_threads(1 if on_cpu else None):
        with Living() as living:
            step()
        while len(taken) < TRIALS and (len(taken) < 3 or sum(taken) < ENOUGH_S):
            wait_for(device)
            start = clock()
            step()
            wait_for(device)
            taken.append(clock() - start)
    return Trial(statistics.median(taken), living.all_gib)
