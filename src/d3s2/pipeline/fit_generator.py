"""Stage fit, the generator: loaded by its kind, fitted on the training split, or a ControlNet fine-tuned on it."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from PIL import Image

from d3s2.base.config import Config, build
from d3s2.base.files import writing, writing_files
from d3s2.base.names import choose
from d3s2.base.revisions import commit_of
from d3s2.base.seeds import torch_generator
from d3s2.base.weights import sha256_weights
from d3s2.data.pairs import to_bytes
from d3s2.generator.autoencoders import Autoencoder, load_autoencoder, pixels_per_cell
from d3s2.generator.compact.adapter import CompactAdapter
from d3s2.generator.compact.fit import FitSettings, fit_generator
from d3s2.generator.compact.network import (
    CompactGenerator,
    flow_scheduler,
    load_generator,
    new_generator,
    save_generator,
    take_weights,
)
from d3s2.generator.generator import GENERATORS, Generator
from d3s2.generator.parts import SourceSettings
from d3s2.generator.sample import Sampling, sample
from d3s2.generator.stable_diffusion.controlnet import ControlNetSettings, controlnet_to_fit, palette_of
from d3s2.generator.stable_diffusion.controlnet_fit import ControlNetFitSettings, fit_controlnet
from d3s2.generator.stable_diffusion.palettes import OWN_PALETTE
from d3s2.pipeline.config import ControlNetFitConfig, GeneratorConfig
from d3s2.pipeline.fitted import is_fitted, write_fitted
from d3s2.pipeline.run import Run, resolve_source

PREVIEW_MASKS = 6


def make_generator(run: Run, *, half: bool = False) -> Generator:
    """The layout-to-image model of a run; what is fitted is kept in its folder, in float16 where `half` says so."""
    config, folder = run.config.generator, run.models / "generator"
    # Where several processes fine-tune together, one counts the masks, and the others read what it counted.
    with PartialState().main_process_first() if config.tune is not None else nullcontext():
        _ = run.census
    loader = choose(GENERATORS, config.kind, "generator")
    values = _with_rarity(run, loader.settings, _settings_of(config, folder))
    settings = build(loader.settings, values, "generator.settings")
    if config.is_fitted_here and not is_fitted(run, folder):
        if config.tune is not None:
            _fit_controlnet(run, config.tune, folder, half)
        else:
            _fit_compact(run, folder, half)
    return loader.load(settings, run.train_data.space, run.device)


def _settings_of(config: GeneratorConfig, folder: Path) -> dict[str, Any]:
    """The settings to load the generator with, after it was fitted into `folder` where the run does that."""
    values = dict(config.settings)
    if config.tune is not None:
        values |= {"palette": _palette(values), "controlnet": str(folder)}
        values |= {"controlnet_subfolder": None, "controlnet_revision": None}
    elif config.is_fitted_here:
        values["model"] = str(folder)
    if isinstance(values.get("model"), str):
        values["model"] = resolve_source(values["model"])
    return values


def _with_rarity(run: Run, settings: type[Config], values: dict[str, Any]) -> dict[str, Any]:
    """With the number of masks that hold each class, where prompts ask how rare classes are and nothing is given."""
    if "rarity" not in settings.model_fields or values.get("rarity") is not None:
        return values
    return values | {"rarity": run.census.images_per_class.tolist()}


def _palette(values: Mapping[str, Any]) -> str:
    """A ControlNet keeps the colours that it was fitted with; a new one learns the label space's own."""
    start = values.get("controlnet")
    return values.get("palette") or (OWN_PALETTE if start is None else palette_of(str(start)))


def _fit_controlnet(run: Run, config: ControlNetFitConfig, folder: Path, half: bool) -> None:
    values, seed = _with_rarity(run, ControlNetSettings, run.config.generator.settings), run.config.seed
    start = values.get("controlnet")
    settings = build(
        ControlNetSettings,
        {**values, "palette": _palette(values), "controlnet": start or str(folder)},
        "generator.settings",
    )
    generator = controlnet_to_fit(settings, run.train_data.space, run.device, seed if start is None else None)
    begun_from = generator.as_record()["weights_sha256"]

    def preview(step: int) -> None:
        _draw_preview(run, generator, folder / "previews" / f"step-{step:06d}.png")

    wall_s = fit_controlnet(
        generator,
        run.train_pairs,
        ControlNetFitSettings(**config.model_dump()),
        seed=seed,
        checkpoint=folder / "checkpoint.pt",
        autocast=run.autocast,
        progress=run.progress,
        preview=preview,
    )
    if PartialState().is_main_process:
        preview(config.steps)
        with writing_files(folder, last="config.json") as scratch:
            (generator.controlnet.half() if half else generator.controlnet).save_pretrained(scratch)
        record = {"settings": settings.model_dump(mode="json"), "tune": config.model_dump(mode="json")}
        commit = commit_of(start, settings.controlnet_revision)
        begun = {"started_from": start, "started_from_commit": commit, "weights_sha256_before": begun_from}
        write_fitted(run, folder, wall_s, record, **begun)
    PartialState().wait_for_everyone()


def new_compact(
    config: GeneratorConfig, num_classes: int, seed: int, device: torch.device
) -> tuple[CompactGenerator, Autoencoder | None]:
    """A fresh compact generator of the shape that is asked for, and the autoencoder on whose latents it is fitted."""
    fit, autoencoder = config.fit, None
    shape = {"channels": fit.channels, "pack": fit.pack, "layers": fit.layers}
    if fit.autoencoder is not None:
        how = SourceSettings(
            **{key: config.settings[key] for key in SourceSettings.model_fields if key in config.settings}
        )
        source = resolve_source(fit.autoencoder)
        autoencoder = load_autoencoder(source, fit.autoencoder_subfolder, how, fit.autoencoder_revision).to(device)
        shape |= {"image_channels": autoencoder.config.latent_channels, "cell": pixels_per_cell(autoencoder)}
    return new_generator(seed, num_classes=num_classes, **shape), autoencoder


def _fit_compact(run: Run, folder: Path, half: bool) -> None:
    config, seed, num_classes = run.config.generator.fit, run.config.seed, run.train_data.space.num_classes
    model, autoencoder = new_compact(run.config.generator, num_classes, seed, run.device)
    if config.start is not None:
        started, _ = load_generator(Path(resolve_source(config.start)), num_classes)
        take_weights(model, started)
    model.require_size(*run.config.data.size)
    settings = FitSettings(
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        rare_boost=config.rare_boost,
        flip=config.flip,
        checkpoint_s=config.checkpoint_s,
    )

    def preview(current: CompactGenerator, step: int) -> None:
        adapter = CompactAdapter(current, flow_scheduler(), autoencoder=autoencoder)
        _draw_preview(run, adapter, folder / "previews" / f"step-{step:06d}.png")

    fitted, wall_s = fit_generator(
        model,
        run.train_pairs,
        settings,
        seed=seed,
        checkpoint=folder / "checkpoint.pt",
        device=run.device,
        autocast=run.autocast,
        progress=run.progress,
        preview=preview,
        autoencoder=autoencoder,
    )
    preview(fitted, config.steps)
    save_generator(fitted, folder, half=half, autoencoder=autoencoder)
    digest = None if autoencoder is None else sha256_weights(autoencoder)
    commit = None if config.autoencoder is None else commit_of(config.autoencoder, config.autoencoder_revision)
    taken = {"autoencoder_sha256": digest, "autoencoder_commit": commit}
    write_fitted(run, folder, wall_s, config.model_dump(mode="json"), **taken)


def _draw_preview(run: Run, generator: Generator, path: Path) -> None:
    """Masks above samples, for a person who wonders whether the fit gets anywhere."""
    count = min(PREVIEW_MASKS, len(run.train_pairs))
    spread = torch.linspace(0, len(run.train_pairs) - 1, count).long().tolist()
    masks = run.train_pairs.take_masks(spread)
    noises = [torch_generator(run.config.seed, "preview", index) for index in range(count)]
    images = to_bytes(sample(generator, masks, noises, Sampling(), device=run.device)).cpu()
    colours = torch.from_numpy(run.train_data.space.encode_colours(masks.numpy())).permute(0, 3, 1, 2)
    rows = [torch.cat(list(row), dim=2) for row in (colours, images)]
    picture = torch.cat(rows, dim=1).permute(1, 2, 0).contiguous().numpy()
    with writing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
