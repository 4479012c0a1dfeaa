"""Step fit, the generator: loaded by its kind, or fitted on the training split first."""

from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import PartialState
from PIL import Image

from d3s2.base.errors import UsageError
from d3s2.base.formats.files import writing
from d3s2.base.pixels import to_bytes
from d3s2.base.seeds import torch_generator
from d3s2.generator import GENERATORS, FitTask, GeneratorKind, LayoutToImage, LayoutToImageSettings, Sampling, sample
from d3s2.pipeline.fitting.record import is_fitted, write_fitted
from d3s2.pipeline.run import Run

PREVIEW_MASKS = 6


def make_generator(run: Run, *, half: bool = False) -> LayoutToImage:
    """The layout-to-image model of a run; what is fitted is kept in its folder, in float16 where `half` says so."""
    asked = run.config.generator
    kind: GeneratorKind = GENERATORS.load(asked.kind)
    together = asked.is_fitted_here and kind.many_processes
    # Where several processes fit together, one counts the masks, and the others read what it counted.
    with PartialState().main_process_first() if together else nullcontext():
        settings = asked.informed(run.census.images_per_class.tolist())
    if settings.is_fitted_here:
        settings = _fitted(run, kind, settings, half, together)
    return kind.load(settings, run.train_data.space, run.device)


def require_size(run: Run) -> None:
    """Raises ModelError where a generator that will be fitted cannot work at the run's size: before the teacher is."""
    asked = run.config.generator
    kind: GeneratorKind = GENERATORS.load(asked.kind)
    if asked.is_fitted_here and kind.fresh is not None and not (run.models / "generator").exists():
        fresh = kind.fresh(asked, run.train_data.space.num_classes, run.config.seed, torch.device("cpu"))
        fresh.latent_shape(run.config.data.size)


def _fitted(
    run: Run, kind: GeneratorKind, settings: LayoutToImageSettings, half: bool, together: bool
) -> LayoutToImageSettings:
    """The settings that load what is fitted into the run's folder, after it was."""
    folder = run.models / "generator"
    if kind.fit is None or kind.fitted is None:
        raise UsageError(f"A generator of kind '{settings.kind}' cannot be fitted here; name the model to load.")
    loading = kind.fitted(settings, folder)
    with nullcontext() if together or is_fitted(run, folder) else run.alone("fit generator"):
        if not is_fitted(run, folder):
            fitted = kind.fit(settings, _task(run, folder, half))
            if not together or PartialState().is_main_process:
                write_fitted(run, folder, fitted.wall_s, settings.model_dump(mode="json"), **fitted.record)
            if together:
                PartialState().wait_for_everyone()
    return loading


def _task(run: Run, folder: Path, half: bool) -> FitTask:
    def preview(generator: LayoutToImage, step: int) -> None:
        _draw_preview(run, generator, folder / "previews" / f"step-{step:06d}.png")

    return FitTask(
        pairs=run.train_pairs,
        space=run.train_data.space,
        size_px=run.config.data.size,
        folder=folder,
        seed=run.config.seed,
        device=run.device,
        autocast=run.autocast,
        half=half,
        progress=run.progress,
        preview=preview,
    )


def _draw_preview(run: Run, generator: LayoutToImage, path: Path) -> None:
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
