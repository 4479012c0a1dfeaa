"""Stage fit: the teacher, the feature bank, and the generator; loaded where they are there, fitted where not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from d3s2.base.config import build
from d3s2.base.files import write_json, writing
from d3s2.base.names import choose
from d3s2.base.progress import track
from d3s2.base.runtime import hardware, stopwatch, versions
from d3s2.base.seeds import seed_for, torch_generator
from d3s2.base.weights import sha256_weights
from d3s2.data.pairs import PairSource, in_order, to_bytes, to_unit
from d3s2.generator.compact import (
    CompactGenerator,
    flow_scheduler,
    load_generator,
    new_generator,
    save_generator,
    take_weights,
)
from d3s2.generator.compact_adapter import CompactAdapter
from d3s2.generator.compact_fit import FitSettings, fit_generator
from d3s2.generator.generator import GENERATORS, Generator
from d3s2.generator.sample import Sampling, sample
from d3s2.nets.loading import load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.nets.unet import CompactUNet
from d3s2.stages.config import TrainConfig
from d3s2.stages.run import Run, resolve_source
from d3s2.student.augment import Augmentation
from d3s2.student.train import TrainSettings, train
from d3s2.teacher.bank import FeatureBank, gather_bank, load_bank, save_bank

FITTED = "fitted.json"  # written last: its being there means that the folder is whole
BANK_BATCH = 16
PREVIEW_MASKS = 6


@dataclass(frozen=True)
class Models:
    """What synthesis needs, frozen and on the run's device."""

    teacher: Segmenter
    bank: FeatureBank
    generator: Generator


def fit_models(run: Run, *, half: bool = False) -> Models:
    """Teacher, bank and generator of a run; `half` stores fitted weights in float16 (for shipping)."""
    teacher = fit_teacher(run, half=half)
    bank = fit_bank(run, teacher)
    return Models(teacher, bank, make_generator(run, half=half))


def fit_teacher(run: Run, *, half: bool = False) -> Segmenter:
    """The teacher: loaded from its source, or a compact U-Net trained on the training split."""
    config, names = run.config.teacher, run.train_data.space.names
    if config.source is not None:
        return load_segmenter(resolve_source(config.source), names, device=run.device)
    folder = run.models / "teacher"
    if not (folder / FITTED).exists():
        with stopwatch() as watch:
            net = new_unet(len(names), config.train.width, seed_for(run.config.seed, "teacher"))
            train(
                net,
                run.train_pairs,
                train_settings(config.train),
                seed=seed_for(run.config.seed, "teacher"),
                device=run.device,
                autocast=run.autocast,
                progress=run.progress,
                label="fit teacher",
            )
        save_segmenter(net, folder, names, half=half)
        _write_fitted(run, folder, watch.wall_s, config.train.model_dump(mode="json"))
    return load_segmenter(folder, names, device=run.device)


def fit_bank(run: Run, teacher: Segmenter) -> FeatureBank:
    """The feature bank of the training split under this teacher."""
    path = run.models / "bank.safetensors"
    provenance = {
        "data": run.data_digest,
        "teacher": sha256_weights(cast(torch.nn.Module, teacher)),
        "layers": ",".join(run.config.teacher.layers),
        "size": "x".join(map(str, run.config.data.size)),
    }
    if not path.exists():
        batches = _unit_batches(run.train_pairs, run.device)
        count = -(-len(run.train_pairs) // BANK_BATCH)
        tracked = track(run.progress, "feature bank", batches, count)
        save_bank(gather_bank(teacher, tracked, run.config.teacher.layers, provenance), path)
    return load_bank(path, provenance).to(run.device)


def make_generator(run: Run, *, half: bool = False) -> Generator:
    """The layout-to-image model: loaded by its kind, or a compact one fitted on the training split."""
    config = run.config.generator
    loader = choose(GENERATORS, config.kind, "generator")
    folder = run.models / "generator"
    if config.is_fitted_here and not (folder / FITTED).exists():
        _fit_compact(run, folder, half)
    values = {"model": str(folder)} if config.is_fitted_here else dict(config.settings)
    if isinstance(values.get("model"), str):
        values["model"] = resolve_source(values["model"])
    settings = build(loader.settings, values, "generator.settings")
    return loader.load(settings, run.train_data.space, run.device)


def new_unet(num_classes: int, width: int, seed: int) -> CompactUNet:
    """A freshly initialised compact U-Net from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CompactUNet(num_classes=num_classes, width=width)


def train_settings(config: TrainConfig) -> TrainSettings:
    """The trainer's plain settings from a config."""
    augmentation = Augmentation(flip=config.flip, zoom=config.zoom)
    return TrainSettings(config.iterations, config.batch, config.lr, augmentation=augmentation)


def _fit_compact(run: Run, folder: Path, half: bool) -> None:
    config, seed = run.config.generator.fit, run.config.seed
    shape = {"channels": config.channels, "pack": config.pack, "layers": config.layers}
    model = new_generator(seed, num_classes=run.train_data.space.num_classes, **shape)
    if config.start is not None:
        started, _ = load_generator(Path(resolve_source(config.start)), run.train_data.space.num_classes)
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
        _draw_preview(run, current, folder / "previews" / f"step-{step:06d}.png")

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
    )
    preview(fitted, config.steps)
    save_generator(fitted, folder, half=half)
    _write_fitted(run, folder, wall_s, config.model_dump(mode="json"))


def _draw_preview(run: Run, model: CompactGenerator, path: Path) -> None:
    """Masks above samples, for a person who wonders whether the fit gets anywhere."""
    count = min(PREVIEW_MASKS, len(run.train_pairs))
    spread = torch.linspace(0, len(run.train_pairs) - 1, count).long().tolist()
    masks = run.train_pairs.take_masks(spread)
    noises = [torch_generator(run.config.seed, "preview", index) for index in range(count)]
    adapter = CompactAdapter(model, flow_scheduler())
    images = to_bytes(sample(adapter, masks, noises, Sampling(), device=run.device)).cpu()
    colours = torch.from_numpy(run.train_data.space.encode_colours(masks.numpy())).permute(0, 3, 1, 2)
    rows = [torch.cat(list(row), dim=2) for row in (colours, images)]
    picture = torch.cat(rows, dim=1).permute(1, 2, 0).contiguous().numpy()
    with writing(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _unit_batches(pairs: PairSource, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in pairs.batches(in_order(len(pairs), BANK_BATCH)):
        yield to_unit(batch.images).to(device), batch.masks.to(device)


def _write_fitted(run: Run, folder: Path, wall_s: float, settings: dict[str, Any]) -> None:
    write_json(
        folder / FITTED,
        {
            "data": run.train_data.name,
            "data_digest": run.data_digest,
            "hardware": hardware(),
            "seed": run.config.seed,
            "settings": settings,
            "size": list(run.config.data.size),
            "versions": versions(),
            "wall_s": round(wall_s, 1),
        },
    )
