"""The compact generator as a kind: how it is fitted, loaded, and tried out for a plan."""

from pathlib import Path

import torch

from d3s2.base.machine.runtime import autocast_dtype
from d3s2.generator.autoencoders import Autoencoder, encode, load_autoencoder, pixels_per_cell
from d3s2.generator.compact.adapter import CompactAdapter, load_compact
from d3s2.generator.compact.fit import fit_generator
from d3s2.generator.compact.network import (
    CompactGenerator,
    flow_scheduler,
    load_generator,
    new_generator,
    save_generator,
    take_weights,
)
from d3s2.generator.compact.settings import CompactSettings
from d3s2.generator.layout_to_image import FitTask, Fitted, FitTrial, GeneratorKind
from d3s2.hub import commit_of, resolve_source, sha256_weights

CHECKPOINT = "checkpoint.pt"


def fit_compact(settings: CompactSettings, task: FitTask) -> Fitted:
    """Fits one from fresh weights, or from those that `fit.start` names."""
    fit, num_classes = settings.fit, task.space.num_classes
    model, autoencoder = new_compact(settings, num_classes, task.seed, task.device)
    if fit.start is not None:
        started, _ = load_generator(Path(resolve_source(fit.start)), num_classes)
        take_weights(model, started)
    model.require_size(*task.size_px)

    def preview(current: CompactGenerator, step: int) -> None:
        task.preview(CompactAdapter(current, flow_scheduler(), autoencoder=autoencoder), step)

    fitted, wall_s = fit_generator(
        model,
        task.pairs,
        fit,
        seed=task.seed,
        checkpoint=task.folder / CHECKPOINT,
        device=task.device,
        autocast=task.autocast,
        progress=task.progress,
        preview=preview,
        autoencoder=autoencoder,
    )
    preview(fitted, fit.steps)
    save_generator(fitted, task.folder, half=task.half, autoencoder=autoencoder)
    digest = None if autoencoder is None else sha256_weights(autoencoder)
    commit = None if fit.autoencoder is None else commit_of(fit.autoencoder, fit.autoencoder_revision)
    return Fitted(wall_s, {"autoencoder_sha256": digest, "autoencoder_commit": commit})


def new_compact(
    settings: CompactSettings, num_classes: int, seed: int, device: torch.device
) -> tuple[CompactGenerator, Autoencoder | None]:
    """A new compact generator of the shape that is asked for, and the autoencoder on whose latents it is fitted."""
    fit, autoencoder = settings.fit, None
    same = ("channels", "pack", "layers", "fine_channels", "fine_layers", "detail")
    shape = {name: getattr(fit, name) for name in same}
    if fit.autoencoder is not None:
        source = resolve_source(fit.autoencoder)
        autoencoder = load_autoencoder(source, fit.autoencoder_subfolder, settings, fit.autoencoder_revision).to(device)
        shape |= {"image_channels": autoencoder.config.latent_channels, "cell": pixels_per_cell(autoencoder)}
    return new_generator(seed, num_classes=num_classes, **shape), autoencoder


def fitted_compact(settings: CompactSettings, folder: Path) -> CompactSettings:
    """What loads the one that was fitted into a folder."""
    return settings.model_copy(update={"model": str(folder)})


def fresh_compact(settings: CompactSettings, num_classes: int, seed: int, device: torch.device) -> CompactAdapter:
    """A generator with new weights, of the shape that would be fitted."""
    model, autoencoder = new_compact(settings, num_classes, seed, device)
    return CompactAdapter(model.to(device).eval(), flow_scheduler(), autoencoder=autoencoder)


def fit_trial(settings: CompactSettings, num_classes: int, size_px: tuple[int, int], device: torch.device) -> FitTrial:
    """A step of a fit, without the optimiser's."""
    model, autoencoder = new_compact(settings, num_classes, 0, device)
    model.require_size(*size_px)
    model.to(device).train()
    batch, dtype = settings.fit.batch, autocast_dtype(device)
    images = torch.zeros(batch, 3, *size_px, device=device)
    time, classes = torch.zeros(batch, device=device), torch.zeros(batch, *size_px, dtype=torch.long, device=device)

    def step() -> None:
        x = images if autoencoder is None else encode(autoencoder, images)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            predicted = model(x, time, classes)
        predicted.float().mean().backward()

    return FitTrial(step, sum(parameter.numel() for parameter in model.parameters()))


COMPACT = GeneratorKind(
    settings=CompactSettings,
    load=load_compact,
    fit=fit_compact,
    fitted=fitted_compact,
    fresh=fresh_compact,
    fit_trial=fit_trial,
)
