"""Stable Diffusion with a ControlNet as a kind: how it is loaded, fine-tuned, and counted for a plan."""

from pathlib import Path

from accelerate import PartialState

from d3s2.base.formats.files import writing_files
from d3s2.generator.compute import DTYPES
from d3s2.generator.conditions.conditioning import palette_name
from d3s2.generator.counted import Counted, CountedFamily, CountedModels
from d3s2.generator.layout_to_image import FitTask, Fitted, GeneratorKind
from d3s2.generator.stable_diffusion.controlnet import controlnet_to_fit, load_controlnet
from d3s2.generator.stable_diffusion.controlnet_fit import fit_controlnet
from d3s2.generator.stable_diffusion.settings import ControlNetFitSettings, ControlNetSettings
from d3s2.hub import commit_of

CHECKPOINT = "checkpoint.pt"
COUNTED = CountedFamily(Counted(0.0044, 0.9107, 0.1715), 1220.8, Counted(0.0, 0.081), Counted(0.0052, 1.0209))
CONTROLNET_MILLION = 361.3
"""Of the weights."""
LEARNING_BYTES = 18
"""Of a weight that learns in mixed precision: itself, its gradient and AdamW's two moments in float32, and a copy in 16
bits."""
FIT_HELD = Counted(0.0, 0.845)
"""GiB of a pair, in 16 bits. Source: as `d3s2.generator.counted`."""


def fit_tuned(settings: ControlNetSettings, task: FitTask) -> Fitted:
    """Fine-tunes the ControlNet, or a new one; every process of a group takes its part."""
    fit = settings.fit or ControlNetFitSettings()
    start = settings.controlnet
    generator = controlnet_to_fit(settings, task.space, task.device, task.seed if start is None else None)
    begun_from = generator.as_record()["weights_sha256"]

    def preview(step: int) -> None:
        task.preview(generator, step)

    wall_s = fit_controlnet(
        generator,
        task.pairs,
        fit,
        seed=task.seed,
        checkpoint=task.folder / CHECKPOINT,
        autocast=task.autocast,
        progress=task.progress,
        preview=preview,
    )
    if PartialState().is_main_process:
        preview(fit.steps)
        with writing_files(task.folder, last="config.json") as scratch:
            (generator.controlnet.half() if task.half else generator.controlnet).save_pretrained(scratch)
    commit = None if start is None else commit_of(start, settings.controlnet_revision)
    begun = {"started_from": start, "started_from_commit": commit, "weights_sha256_before": begun_from}
    return Fitted(wall_s, begun)


def fitted(settings: ControlNetSettings, folder: Path) -> ControlNetSettings:
    """What loads the one that was fine-tuned into a folder; it keeps the colours that it was fitted with."""
    where = {"controlnet": str(folder), "controlnet_subfolder": None, "controlnet_revision": None}
    return settings.model_copy(update={**where, "palette": palette_name(settings.palette, settings.controlnet)})


def fit_gib(settings: ControlNetSettings, size_px: tuple[int, int]) -> float:
    """Of a fit on one card, without gradient checkpointing: all networks, what the ControlNet's weights need beside
    themselves in 16 bits to learn, and what the pairs of a part of a batch hold for the backward pass."""
    fit = settings.fit or ControlNetFitSettings()
    learning = CONTROLNET_MILLION * 1e6 * (LEARNING_BYTES - DTYPES[settings.compute.dtype].itemsize) / 2**30
    held = -(-fit.batch // fit.accumulate) * FIT_HELD.at(size_px)
    weights_gib = COUNTED.memory(settings.compute, size_px, tiny=settings.tiny_decoder is not None).weights_gib
    return weights_gib + learning + held


CONTROLNET = GeneratorKind(
    settings=ControlNetSettings,
    load=load_controlnet,
    fit=fit_tuned,
    fitted=fitted,
    many_processes=True,
    counted=CountedModels({"stable-diffusion-v1-5/stable-diffusion-v1-5": COUNTED}),
    fit_gib=fit_gib,
)
