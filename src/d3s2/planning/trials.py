"""Seconds of a step of the compact networks, tried out on this machine with what a run is configured to.

On a CPU these are processor seconds of one thread, so that what else the machine does hardly counts; on a GPU they are
seconds of the clock.
"""

import statistics
import time
from collections.abc import Callable

import torch

from d3s2.base.runtime import autocast_dtype, torch_threads, wait_for
from d3s2.generator.autoencoders import Autoencoder, encode
from d3s2.generator.compact.network import CompactGenerator, bind
from d3s2.generator.denoiser import Level
from d3s2.nets.compact.unet import CompactUNet
from d3s2.pipeline.config import RunConfig, TrainConfig
from d3s2.pipeline.fit_generator import new_compact

TRIALS = 5
ENOUGH_S = 10.0
"""No further trial is begun after so many seconds, if there were three."""

PARALLEL_SHARE = 0.85
"""Share of a step's work that more threads divide among them: two cores then take 0.58 of the time of one."""


def with_threads(one_thread_s: float, threads: int, device: torch.device) -> float:
    """What takes `one_thread_s` in one thread takes so long in several, on idle cores (Amdahl's law)."""
    return one_thread_s if device.type != "cpu" else one_thread_s * (1 - PARALLEL_SHARE + PARALLEL_SHARE / threads)


def unet_step_s(config: RunConfig, train: TrainConfig, device: torch.device, num_classes: int) -> float:
    """A training step of the compact U-Net."""
    net = CompactUNet(num_classes=num_classes, width=train.width).to(device)
    images = torch.zeros(train.batch, 3, *config.data.size, device=device)

    def step() -> None:
        _autocast(device, lambda: net(images).scores).float().mean().backward()

    return _seconds(step, device)


def generator_step_s(
    config: RunConfig, model: CompactGenerator, autoencoder: Autoencoder | None, device: torch.device
) -> float:
    """A step of fitting the compact generator, on the latents of an autoencoder where there is one."""
    model.to(device).train()
    batch, size = config.generator.fit.batch, config.data.size
    images = torch.zeros(batch, 3, *size, device=device)
    time_, classes = torch.zeros(batch, device=device), torch.zeros(batch, *size, dtype=torch.long, device=device)
    model.require_size(*size)

    def step() -> None:
        x = images if autoencoder is None else encode(autoencoder, images)
        _autocast(device, lambda: model(x, time_, classes)).float().mean().backward()

    return _seconds(step, device)


def denoise_s(config: RunConfig, device: torch.device, num_classes: int) -> float:
    """A step of sampling a batch, without guidance."""
    model = new_compact(config.generator, num_classes, 0, device)[0].to(device).eval()
    masks = torch.zeros(config.synthesize.batch, *config.data.size, dtype=torch.uint8, device=device)
    denoiser = bind(model, masks, config.synthesize.guidance_scale)
    x = torch.zeros(config.synthesize.batch, *model.latent_shape(config.data.size), device=device)
    with torch.no_grad():
        return _seconds(lambda: denoiser(x, Level(alpha=0.5, sigma=0.5, time=0.5)), device)


def _autocast(device: torch.device, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    dtype = autocast_dtype(device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        return run()


def _seconds(step: Callable[[], object], device: torch.device) -> float:
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


def num_weights(model: torch.nn.Module) -> int:
    """How many weights a network has."""
    return sum(parameter.numel() for parameter in model.parameters())
