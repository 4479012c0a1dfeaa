"""Seconds of a step of the compact networks, tried out on this machine with what a run is configured to."""

import time
from collections.abc import Callable

import torch

from d3s2.base.runtime import autocast_dtype, torch_threads
from d3s2.generator.autoencoders import Autoencoder, encode
from d3s2.generator.compact.network import CompactGenerator, bind
from d3s2.generator.denoiser import Level
from d3s2.nets.compact.unet import CompactUNet
from d3s2.pipeline.config import RunConfig, TrainConfig
from d3s2.pipeline.fit_generator import new_compact

TRIALS = 2


def unet_step_s(
    config: RunConfig, train: TrainConfig, device: torch.device, num_classes: int, threads: int | None = None
) -> float:
    """A training step of the compact U-Net; `threads` as many as a worker will have."""
    net = CompactUNet(num_classes=num_classes, width=train.width).to(device)
    images = torch.zeros(train.batch, 3, *config.data.size, device=device)

    def step() -> None:
        _autocast(device, lambda: net(images).scores).float().mean().backward()

    with torch_threads(threads):
        return _seconds(step)


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

    return _seconds(step)


def denoise_s(config: RunConfig, device: torch.device, num_classes: int) -> float:
    """A step of sampling a batch, without guidance."""
    model = new_compact(config.generator, num_classes, 0, device)[0].to(device).eval()
    masks = torch.zeros(config.synthesize.batch, *config.data.size, dtype=torch.uint8, device=device)
    denoiser = bind(model, masks, config.synthesize.guidance_scale)
    x = torch.zeros(config.synthesize.batch, *model.latent_shape(config.data.size), device=device)
    with torch.no_grad():
        return _seconds(lambda: denoiser(x, Level(alpha=0.5, sigma=0.5, time=0.5)))


def _autocast(device: torch.device, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    dtype = autocast_dtype(device)
    with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        return run()


def _seconds(step: Callable[[], object]) -> float:
    """Mean seconds of a step after one that warms up."""
    step()
    start = time.perf_counter()
    for _ in range(TRIALS):
        step()
    return (time.perf_counter() - start) / TRIALS


def num_weights(model: torch.nn.Module) -> int:
    """How many weights a network has."""
    return sum(parameter.numel() for parameter in model.parameters())
