"""Seconds of a step of the compact networks, tried out on this machine with what a run is configured to.

On a CPU these are processor seconds of one thread, so that what else the machine does hardly counts; on a GPU they are
seconds of the clock.
"""

import statistics
import time
from collections.abc import Callable

import torch

from d3s2.base.machine.runtime import autocast_dtype, torch_threads, wait_for
from d3s2.generator import LayoutToImage, Level
from d3s2.nets.compact import CompactUNet
from d3s2.student import TrainSettings

TRIALS = 5
ENOUGH_S = 10.0
"""No further trial is begun after so many seconds, if there were three."""

PARALLEL_SHARE = 0.85
"""Share of a step's work that more threads divide among them: two cores then take 0.58 of the time of one."""


def with_threads(one_thread_s: float, threads: int, device: torch.device) -> float:
    """What takes `one_thread_s` in one thread takes so long in several, on idle cores (Amdahl's law)."""
    return one_thread_s if device.type != "cpu" else one_thread_s * (1 - PARALLEL_SHARE + PARALLEL_SHARE / threads)


def unet_step_s(train: TrainSettings, size_px: tuple[int, int], num_classes: int, device: torch.device) -> float:
    """A training step of the compact U-Net."""
    net = CompactUNet(num_classes=num_classes, width=train.width).to(device)
    images = torch.zeros(train.batch, 3, *size_px, device=device)

    def step() -> None:
        _autocast(device, lambda: net(images).scores).float().mean().backward()

    return step_seconds(step, device)


def denoise_s(
    generator: LayoutToImage, count: int, guidance_scale: float, size_px: tuple[int, int], device: torch.device
) -> float:
    """A step of sampling `count` images together, without guidance."""
    masks = torch.zeros(count, *size_px, dtype=torch.uint8, device=device)
    denoiser = generator.bind(masks, guidance_scale)
    x = torch.zeros(count, *generator.latent_shape(size_px), device=device)
    with torch.no_grad():
        return step_seconds(lambda: denoiser(x, Level(alpha=0.5, sigma=0.5, time=0.5)), device)


def _autocast(device: torch.device, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    dtype = autocast_dtype(device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        return run()


def step_seconds(step: Callable[[], object], device: torch.device) -> float:
    """Median seconds of a step, after one that warms up."""
    on_cpu = device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    taken: list[float] = []
    with torch_threads(1 if on_cpu else None):
        step()
        while len(taken) < TRIALS and (len(taken) < 3 or sum(taken) < ENOUGH_S):
            wait_for(device)
            start = clock()
            step()
            wait_for(device)
            taken.append(clock() - start)
    return statistics.median(taken)
