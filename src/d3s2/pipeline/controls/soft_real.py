"""The teacher's soft labels of real images: made and stored as those of synthetic ones are."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch

from d3s2.base.fingerprint import digest_of, touching
from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.moving import to_device
from d3s2.base.pixels import to_unit
from d3s2.data import in_order, open_pairs
from d3s2.nets import Segmenter
from d3s2.pipeline.fitting.fit import teacher_digest
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run
from d3s2.store.soft import soft_path, write_soft
from d3s2.synthesis import sampled_together, soft_labels

SOFT_REAL = "soft-real"
BATCH = 16


def softener(run: Run) -> Callable[[tuple[str, ...]], Path]:
    """A function from ids of training pairs to the folder with their soft labels, which makes those that are missing.

    Settings are those of the distilled set (`synthesize.soft`), their defaults where it stores none. The teacher is
    loaded once, when the first labels are asked for.
    """

    @cache
    def teacher() -> Segmenter:
        return fit_teacher(run)

    @cache
    def folder() -> Path:
        content = {
            "teacher": teacher_digest(teacher()),
            "data": run.data_digest,
            "size": list(run.config.data.size),
            "soft": touching(run.config.synthesize.soft_or_defaults, "synthesize"),
        }
        return run.base / SOFT_REAL / digest_of("soft-real", content)[:16]

    def soften(ids: tuple[str, ...]) -> Path:
        missing = [item_id for item_id in ids if not soft_path(folder(), item_id).exists()]
        if missing:
            _make(run, teacher(), missing, folder())
        return folder()

    return soften


@torch.no_grad()
def _make(run: Run, teacher: Segmenter, ids: Sequence[str], folder: Path) -> None:
    # As in sampling: on a CPU an image alone, on one thread, so that labels are the same bytes whatever is asked for.
    batch = sampled_together(BATCH, run.device)
    pairs = open_pairs(run.source_data, ids)
    with run.progress.task("soft labels of real images", len(ids)) as task, reproducible(run.device):
        for part, chunk in zip(in_order(len(ids), batch), pairs.batches(in_order(len(ids), batch)), strict=True):
            seen = teacher(to_unit(to_device(chunk.images, run.device)))
            for position, logits in zip(part, seen.scores, strict=True):
                write_soft(folder, ids[position], soft_labels(logits, run.config.synthesize.soft_or_defaults))
            task.advance(len(chunk))
