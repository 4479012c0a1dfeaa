"""Stage fit: the teacher, the feature bank, and the generator; loaded where they are there, fitted where not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from d3s2.base.formats.files import sha256_text
from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.runtime import is_first_process
from d3s2.base.progress import track
from d3s2.base.seeds import seed_for
from d3s2.data.pairs import PairSource, in_order, to_unit
from d3s2.evaluation.settings import ArchitectureSettings
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import GeneratorKind, LayoutToImage
from d3s2.hub.revisions import commit_of
from d3s2.hub.shipped import resolve_source
from d3s2.hub.weights import sha256_weights
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.labels import LabelMap
from d3s2.nets.loading import default_layers, load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.pipeline.fitting.generator import make_generator
from d3s2.pipeline.fitting.record import is_fitted, write_fitted
from d3s2.pipeline.run import Run
from d3s2.student.train import precision_name, precision_of, train
from d3s2.teacher.bank import FeatureBank, gather_bank, load_bank, save_bank

BANK_BATCH = 16
CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Models:
    """What synthesis needs, frozen and on the run's device."""

    teacher: Segmenter
    bank: FeatureBank
    generator: LayoutToImage


def fit_models(run: Run, *, half: bool = False) -> Models:
    """Teacher, bank and generator of a run; `half` stores fitted weights in float16 (for shipping)."""
    teacher = fit_teacher(run, half=half)
    bank = fit_bank(run, teacher)
    return Models(teacher, bank, make_generator(run, half=half))


def fit_everything(run: Run, *, half: bool = False) -> None:
    """What `fit_models` makes; where several processes were launched, the others help to fine-tune the ControlNet."""
    if is_first_process():
        fit_models(run, half=half)
    elif _fits_together(run):
        make_generator(run, half=half)


def _fits_together(run: Run) -> bool:
    kind: GeneratorKind = GENERATORS.load(run.config.generator.kind)
    return run.config.generator.is_fitted_here and kind.many_processes


def fit_teacher(run: Run, *, half: bool = False) -> Segmenter:
    """The teacher: loaded from its source, or a network trained on the training split."""
    config, names = run.config.teacher, run.train_data.space.names
    if config.source is not None:
        return _loaded_teacher(run, resolve_source(config.source))
    folder = run.models / "teacher"
    if not is_fitted(run, folder):
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
    return _loaded_teacher(run, folder)


def _loaded_teacher(run: Run, source: str | Path) -> Segmenter:
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


def teacher_record(run: Run, bank: FeatureBank) -> dict[str, Any]:
    """What a manifest keeps of the teacher that a bank was made with."""
    config = run.config.teacher
    source = None if config.source is None else resolve_source(config.source)
    commit = commit_of(source, config.revision)
    return {"source": config.source, "commit": commit, "weights_sha256": bank.provenance["teacher"]}


def fit_bank(run: Run, teacher: Segmenter) -> FeatureBank:
    """The feature bank of the training split under this teacher."""
    config = run.config.teacher
    layers = default_layers(teacher) if config.layers is None else config.layers
    provenance = {
        "data": run.data_digest,
        "teacher": sha256_weights(cast(torch.nn.Module, teacher)),
        "reading": _reading(teacher),
        "label map": _label_map(config.label_map),
        "layers": ",".join(layers),
        "size": "x".join(map(str, run.config.data.size)),
        "size seen": str(config.size_px or "the same"),
    }
    # Variants of one run share the folder, and may match other layers.
    path = run.models / f"bank-{sha256_text(str(provenance))[:12]}.safetensors"
    if not path.exists():
        batches = _unit_batches(run.train_pairs, run.device)
        count = -(-len(run.train_pairs) // BANK_BATCH)
        tracked = track(run.progress, "feature bank", batches, count)
        with reproducible(run.device):  # the bank steers every image
            save_bank(gather_bank(teacher, tracked, layers, provenance), path)
    return load_bank(path, provenance).to(run.device)


def teacher_digest(teacher: Segmenter) -> str:
    """Of a teacher's weights and of how it is read."""
    return sha256_text(f"{sha256_weights(cast(torch.nn.Module, teacher))} {_reading(teacher)}")


def _reading(teacher: Segmenter) -> str:
    """How images go into the teacher and which of its labels are the classes: files beside the weights say so."""
    parts = [getattr(teacher, name, None) for name in ("preprocessing", "resize", "groups")]
    return sha256_text(str(parts))


def _label_map(given: LabelMap | None) -> str:
    if given is None or isinstance(given, str):
        return given or "none"
    return sha256_text(str(sorted(given.items())))


def _unit_batches(pairs: PairSource, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in pairs.batches(in_order(len(pairs), BANK_BATCH)):
        yield to_unit(batch.images).to(device), batch.masks.to(device)
