"""The teacher's soft labels of real images: made and stored as those of synthetic ones are."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch

from d3s2.base.fingerprint import digest_of, touching
from d3s2.base.machine.determinism import reproducible
from d3s2.data.pairs import FilePairs, in_order, to_unit
from d3s2.nets.segmenter import Segmenter
from d3s2.pipeline.fitting.fit import fit_teacher, teacher_digest
from d3s2.pipeline.run import Run
from d3s2.store.soft_files import soft_path, write_soft
from d3s2.synthesis.guided import sampled_together
from d3s2.synthesis.items import soft_labels
from d3s2.synthesis.settings import SoftSettings

SOFT_REAL = "soft-real"
BATCH = 16


def softener(run: Run) -> Callable[[tuple[str, ...]], Path]:
    """A function from ids of training pairs to the folder with their soft labels, which makes those that are missing.

    Settings are those of the distilled set (`synthesize.soft`), their defaults where it stores none. The teacher is
    loaded once, when the first labels are asked for.
    """
    settings = run.config.synthesize.soft or SoftSettings()

    @cache
    def teacher() -> Segmenter:
        return fit_teacher(run)

    @cache
    def folder() -> Path:
        content = {
            "teacher": teacher_digest(teacher()),
            "data": run.data_digest,
            "size": list(run.config.data.size),
            "soft": touching(settings, "synthesize"),
        }
        return run.base / SOFT_REAL / digest_of("soft-real", content)[:16]

    def soften(ids: tuple[str, ...]) -> Path:
        missing = [item_id for item_id in ids if not soft_path(folder(), item_id).exists()]
        if missing:
            _make(run, teacher(), missing, settings, folder())
        return folder()

    return soften


@torch.no_grad()
def _make(run: Run, teacher: Segmenter, ids: Sequence[str], settings: SoftSettings, folder: Path) -> None:
    # As in sampling: on a CPU an image alone, on one thread, so that labels are the same bytes whatever is asked for.
    batch = sampled_together(BATCH, run.device)
    pairs = FilePairs(run.train_data, tuple(ids))
    with run.progress.task("soft labels of real images", len(ids)) as task, reproducible(run.device):
        for part, chunk in zip(in_order(len(ids), batch), pairs.batches(in_order(len(ids), batch)), strict=True):
            seen = teacher(to_unit(chunk.images).to(run.device))
            for position, logits in zip(part, seen.scores, strict=True):
                write_soft(folder, ids[position], soft_labels(logits, settings))
            task.advance(len(chunk))
