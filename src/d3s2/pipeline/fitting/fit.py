"""Stage fit: the teacher, the feature bank, and the generator; loaded where they are there, fitted where not."""

from dataclasses import dataclass
from typing import Any, cast

import torch

from d3s2.base.formats.files import sha256_text
from d3s2.base.machine.runtime import is_first_process
from d3s2.generator import GENERATORS, GeneratorKind, LayoutToImage
from d3s2.hub import commit_of, resolve_source, sha256_weights
from d3s2.nets import Segmenter, default_layers
from d3s2.pipeline.fitting.bank import gather
from d3s2.pipeline.fitting.generator import make_generator, require_size
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run
from d3s2.teacher import FeatureBank, load_bank


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
        require_size(run)  # before hours of fitting
        fit_models(run, half=half)
    elif _fits_together(run):
        make_generator(run, half=half)


def _fits_together(run: Run) -> bool:
    kind: GeneratorKind = GENERATORS.load(run.config.generator.kind)
    return run.config.generator.is_fitted_here and kind.many_processes


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
        gather(run, teacher, layers, provenance, path)
    return load_bank(path, provenance).to(run.device)


def teacher_digest(teacher: Segmenter) -> str:
    """Of a teacher's weights and of how it is read."""
    return sha256_text(f"{sha256_weights(cast(torch.nn.Module, teacher))} {_reading(teacher)}")


def _reading(teacher: Segmenter) -> str:
    """How images go into the teacher and which of its labels are the classes: files beside the weights say so."""
    parts = [getattr(teacher, name, None) for name in ("preprocessing", "resize", "groups")]
    return sha256_text(str(parts))


def _label_map(given: Any) -> str:
    if given is None or isinstance(given, str):
        return given or "none"
    return sha256_text(str(sorted(given.items())))
