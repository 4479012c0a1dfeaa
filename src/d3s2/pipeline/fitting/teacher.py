"""Step fit, the teacher: loaded from its source, or fitted on the training split first."""

from pathlib import Path
from typing import Any

from d3s2.base.seeds import seed_for
from d3s2.evaluation import ArchitectureSettings
from d3s2.hub import resolve_source
from d3s2.nets import Segmenter, load_segmenter, new_segmenter, save_segmenter
from d3s2.pipeline.fitting.record import is_fitted, write_fitted
from d3s2.pipeline.run import Run
from d3s2.student import precision_name, precision_of, train

CHECKPOINT = "checkpoint.pt"


def fit_teacher(run: Run, *, half: bool = False) -> Segmenter:
    """The teacher: loaded from its source, or a network trained on the training split."""
    config = run.config.teacher
    if config.source is not None:
        return load_teacher(run, resolve_source(config.source))
    folder = run.models / "teacher"
    if not is_fitted(run, folder):
        with run.alone("fit teacher"):
            if not is_fitted(run, folder):
                _fit_teacher(run, folder, half)
    return load_teacher(run, folder)


def _fit_teacher(run: Run, folder: Path, half: bool) -> None:
    config, names = run.config.teacher, run.train_data.space.names
    seed, chosen = seed_for(run.config.seed, "teacher"), config.architecture
    protocol = chosen.protocol(config.train)
    net = new_segmenter(
        chosen.name,
        len(names),
        seed=seed,
        width=protocol.width,
        backbone=chosen.backbone,
        revision=chosen.backbone_revision,
    )
    wall_s = train(
        net,
        run.train_pairs,
        protocol,
        seed=seed,
        device=run.device,
        autocast=precision_of(protocol, run.device),
        checkpoint=folder / CHECKPOINT,
        progress=run.progress,
        label="fit teacher",
    )
    save_segmenter(net, folder, names, half=half)
    more: dict[str, Any] = {"precision": precision_name(protocol, run.device)}
    if chosen != ArchitectureSettings(name="compact-unet"):
        more["architecture"] = chosen.model_dump(mode="json", exclude_none=True)
    write_fitted(run, folder, wall_s, protocol.model_dump(mode="json"), **more)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def load_teacher(run: Run, source: str | Path) -> Segmenter:
    """The teacher of these weights, on the run's device, as the run's config reads it."""
    config = run.config.teacher
    return load_segmenter(
        source,
        run.train_data.space.names,
        device=run.device,
        layers=config.layers,
        label_map=config.label_map,
        size_px=config.size_px,
        allow_pickle=config.allow_pickle,
        revision=config.revision,
    )
