"""The training images in the teacher's eyes: one vector each, for selections that go by features."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from d3s2.base.errors import ModelError
from d3s2.base.fingerprint import digest_of
from d3s2.base.formats.files import write_bytes
from d3s2.base.formats.json_text import MAKE_AGAIN
from d3s2.base.formats.tensors import read_tensors, require, tensors_bytes
from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.moving import to_device, to_host
from d3s2.base.pixels import to_unit
from d3s2.data import in_order, open_pairs
from d3s2.nets import GRID, pooled_features
from d3s2.pipeline.fitting.fit import teacher_digest
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run

BATCH = 16
FEATURES = "features"


def teacher_features(run: Run) -> Float32[np.ndarray, "n d"]:
    """A vector for each mask of the census: the deepest layer of the teacher over a coarse grid, centred and scaled.

    Read from the run's models where they were taken before from the same data by the same teacher.
    """
    teacher, ids = fit_teacher(run), tuple(run.census.ids)
    content = {"teacher": teacher_digest(teacher), "data": run.data_digest, "size": list(run.config.data.size)}
    digest = digest_of(FEATURES, {**content, "grid": GRID})
    path = run.models / f"{FEATURES}-{digest[:12]}.safetensors"
    if not path.exists():
        pairs, parts = open_pairs(run.train_data, ids), in_order(len(ids), BATCH)
        rows = []
        with run.progress.task("features of real images", len(ids)) as task, reproducible(run.device), torch.no_grad():
            for chunk in pairs.batches(parts):
                rows.append(to_host(pooled_features(teacher, to_unit(to_device(chunk.images, run.device)))))
                task.advance(len(chunk))
        table = torch.cat(rows).double()
        scaled = (table - table.mean(dim=0)) / table.std(dim=0, correction=0).clamp(min=1e-6)
        write_bytes(path, tensors_bytes({FEATURES: scaled.float()}, {"digest": digest}))
    return read_features(path, len(ids))


def read_features(path: Path, num_images: int) -> Float32[np.ndarray, "n d"]:
    """The vectors that `teacher_features` keeps; raises ModelError where the file is damaged."""
    tensors, _ = read_tensors(path, "features of real images", MAKE_AGAIN, ModelError)
    try:
        table = require(tensors, FEATURES, torch.float32, 2)
        if len(table) != num_images or not table.isfinite().all():
            raise ValueError(f"'{FEATURES}' is not a finite vector for each of {num_images:,} images")
    except ValueError as problem:
        raise ModelError(f"{path}: holds damaged features of real images ({problem}); {MAKE_AGAIN}.") from None
    return table.numpy()
