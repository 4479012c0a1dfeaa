"""What a run will do and take, before it does it: measured on this machine with a few steps of the real networks."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from d3s2.base.runtime import autocast_dtype, num_cores
from d3s2.generator.autoencoders import Autoencoder, encode
from d3s2.generator.compact import CompactGenerator, bind
from d3s2.generator.denoiser import Level
from d3s2.nets.unet import CompactUNet
from d3s2.selection.select import masks_for_ratio
from d3s2.stages.config import RunConfig, TrainConfig
from d3s2.stages.fit_generator import new_compact
from d3s2.stages.run import open_split

TRIALS = 2
BYTES_A_PIXEL = 2.5  # of a PNG pair, as measured on small photographs
CHECKPOINT_COPIES = 5  # weights, their average, two moments of the optimiser, the fitted copy


@dataclass(frozen=True)
class Step:
    """One line of a plan."""

    what: str
    amount: str
    estimated_s: float | None


@dataclass(frozen=True)
class Plan:
    """What will be done, for how long, and how much disk it takes."""

    name: str
    device: str
    steps: tuple[Step, ...]
    disk_gib: float
    free_gib: float

    @property
    def estimated_s(self) -> float:
        """Seconds in all, over the steps that could be estimated."""
        return sum(step.estimated_s or 0.0 for step in self.steps)

    def as_text(self) -> str:
        """For a person."""
        lines = [f"Plan of '{self.name}' on {self.device}:"]
        for step in self.steps:
            spent = "-" if step.estimated_s is None else _duration(step.estimated_s)
            lines.append(f"  {step.what:<22} {step.amount:<52} {spent:>10}")
        lines.append(f"  {'in all':<22} {'':<52} {_duration(self.estimated_s):>10}")
        lines.append(f"  disk: about {self.disk_gib:.2f} GiB, {self.free_gib:.1f} GiB are free here")
        return "\n".join(lines)


def make_plan(config: RunConfig, device: torch.device, parts: Sequence[str]) -> Plan:
    """The plan of a run; reads no image, trains nothing that is kept.

    Args:
        parts: of 'fit', 'distill', 'evaluate', in the order in which they run.
    """
    train_data = open_split(config.data, config.data.train)
    num_all, num_classes = len(train_data.ids), train_data.space.num_classes
    ratio, budget = config.select.ratio, config.select.num_masks
    num_masks = masks_for_ratio(ratio, num_all) if ratio is not None else budget or 0
    steps = [*_fit_steps(config, device, num_classes, num_all)]
    if "distill" in parts:
        steps = [
            Step("census", f"{num_all} masks", None),
            Step("select", f"{num_masks} masks by {config.select.method}", None),
            *steps,
            _synthesize_step(config, device, num_classes, num_masks),
        ]
    if "evaluate" in parts:
        steps.append(_evaluate_step(config, device, num_classes))
    height, width = config.data.size
    soft = config.synthesize.soft
    soft_bytes = 2 * soft.num_top / soft.cell_px**2 if soft else 0.0
    disk = 2 * num_masks * height * width * (BYTES_A_PIXEL + soft_bytes)
    if config.generator.is_fitted_here and config.generator.tune is None:
        disk += CHECKPOINT_COPIES * 4 * _num_weights(new_compact(config.generator, num_classes, 0, device)[0])
    free = shutil.disk_usage(Path.cwd()).free
    return Plan(config.name, str(device), tuple(steps), disk / 2**30, free / 2**30)


def _fit_steps(config: RunConfig, device: torch.device, num_classes: int, num_all: int) -> list[Step]:
    steps = []
    if config.teacher.source is None:
        train = config.teacher.train
        amount = f"compact U-Net, {train.iterations} iterations of {train.batch}"
        steps.append(Step("fit teacher", amount, train.iterations * _unet_step_s(config, train, device, num_classes)))
    else:
        steps.append(Step("load teacher", config.teacher.source, None))
    steps.append(Step("feature bank", f"one pass over {num_all} pairs", None))
    fit, tune = config.generator.fit, config.generator.tune
    if tune is not None:
        start = config.generator.settings.get("controlnet", "new")
        amount = f"ControlNet, {start}, on {config.generator.settings.get('model')}, {tune.steps} steps of {tune.batch}"
        steps.append(Step("fit generator", amount, None))
    elif config.generator.is_fitted_here:
        model, autoencoder = new_compact(config.generator, num_classes, 0, device)
        place = "" if autoencoder is None else f" on latents of {fit.autoencoder}"
        amount = f"{_num_weights(model) / 1e6:.1f} M weights{place}, {fit.steps} steps of {fit.batch}"
        steps.append(Step("fit generator", amount, fit.steps * _generator_step_s(config, model, autoencoder, device)))
    else:
        steps.append(Step("load generator", f"{config.generator.kind} {dict(config.generator.settings)}", None))
    return steps


def _synthesize_step(config: RunConfig, device: torch.device, num_classes: int, num_masks: int) -> Step:
    settings = config.synthesize
    sets = 2 if settings.unguided_too else 1
    sets_text = f"{num_masks} images x {sets - 1 + settings.candidates}"
    amount = f"{sets_text}, {settings.steps} steps, guidance {settings.guidance.mode}"
    if config.generator.kind != "compact":
        return Step("synthesize", amount, None)
    # Guidance in `fast` mode costs about the half again of an unguided sample (docs/guidance.md).
    batches, factor = -(-num_masks // settings.batch), sets - 1 + 1.5 * settings.candidates
    return Step("synthesize", amount, batches * settings.steps * factor * _denoise_s(config, device, num_classes))


def _evaluate_step(config: RunConfig, device: torch.device, num_classes: int) -> Step:
    settings = config.evaluate
    count = len(settings.sets) * settings.seeds
    amount = f"{count} students, {settings.train.iterations} iterations of {settings.train.batch}"
    workers = settings.workers or (num_cores() if device.type == "cpu" else 1)
    step_s = _unet_step_s(config, settings.train, device, num_classes, threads=1 if workers > 1 else None)
    return Step("evaluate", amount, count * settings.train.iterations * step_s / workers)


def _unet_step_s(
    config: RunConfig, train: TrainConfig, device: torch.device, num_classes: int, threads: int | None = None
) -> float:
    net = CompactUNet(num_classes=num_classes, width=train.width).to(device)
    images = torch.zeros(train.batch, 3, *config.data.size, device=device)

    def step() -> None:
        _autocast(device, lambda: net(images).scores).float().mean().backward()

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return _seconds(step)
    finally:
        torch.set_num_threads(before)


def _generator_step_s(
    config: RunConfig, model: CompactGenerator, autoencoder: Autoencoder | None, device: torch.device
) -> float:
    model.to(device).train()
    batch, size = config.generator.fit.batch, config.data.size
    images = torch.zeros(batch, 3, *size, device=device)
    time_, classes = torch.zeros(batch, device=device), torch.zeros(batch, *size, dtype=torch.long, device=device)
    model.require_size(*size)

    def step() -> None:
        x = images if autoencoder is None else encode(autoencoder, images)
        _autocast(device, lambda: model(x, time_, classes)).float().mean().backward()

    return _seconds(step)


def _denoise_s(config: RunConfig, device: torch.device, num_classes: int) -> float:
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


def _num_weights(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
