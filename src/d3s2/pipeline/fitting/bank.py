"""Step fit, the feature bank: gathered in parts that are merged in their order, so its bytes are the same anywhere."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.moving import to_device
from d3s2.base.pixels import to_unit
from d3s2.data import PairSource, in_order, open_pairs
from d3s2.execution import Piece, Task, Work, executor_of
from d3s2.nets import Segmenter
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run
from d3s2.pipeline.work.workers import needs_of, worker_run, workers_for_models
from d3s2.teacher import gather_part, load_part, merged_bank, save_bank, save_part

BATCH = 16
MOST_PARTS = 256


@dataclass(frozen=True)
class Part:
    """Draws of pairs whose statistics are merged in this order.

    Args:
        draws: positions of the pairs of each batch.
        layers: of the teacher.
        path: where the statistics are written.
    """

    draws: tuple[range, ...]
    layers: tuple[str, ...]
    path: Path


def gather(run: Run, teacher: Segmenter, layers: Sequence[str], provenance: Mapping[str, str], path: Path) -> None:
    """Writes the bank of the training split into the file `path`; parts that are there already are not made again."""
    folder = path.with_suffix(".parts")
    draws = in_order(len(run.train_data.ids), BATCH)
    each = -(-len(draws) // MOST_PARTS)  # of the data alone: where sums are cut decides their last digits
    parts = [
        Part(tuple(draws[start : start + each]), tuple(layers), folder / f"{number:04d}.safetensors")
        for number, start in enumerate(range(0, len(draws), each))
    ]
    executor = executor_of(run.execution, run.base, run.device, workers=workers_for_models(run))
    pieces = [Piece(f"{path.stem}-{part.path.stem}", part) for part in parts]
    pieces = [piece for piece in pieces if executor.shares or not _is_done(piece.content)]
    here = partial(_gather_part, run, teacher, run.train_pairs) if executor.in_this_process and pieces else None
    work = Work("feature bank", _begin, worker_run(run), needs_of(run.device), here=here, is_done=_is_done)
    with run.progress.task("feature bank", len(parts), done=len(parts) - len(pieces)) as task:
        for _ in run.logged(work.step, executor.run(work, pieces)):
            task.advance()
    with run.alone("merge the feature bank"):
        if not path.exists():
            save_bank(merged_bank((load_part(part.path) for part in parts), provenance), path)
            shutil.rmtree(folder, ignore_errors=True)


def _is_done(part: Part) -> bool:
    # Whoever shares the work and comes late finds the parts merged and gone.
    return part.path.exists() or part.path.parent.with_suffix(".safetensors").exists()


def _begin(run: Run) -> Task[Part, None]:
    return partial(_gather_part, run, fit_teacher(run), open_pairs(run.train_data, run.train_data.ids))


def _gather_part(run: Run, teacher: Segmenter, pairs: PairSource, part: Part) -> None:
    with reproducible(run.device):  # the bank steers every image
        save_part(gather_part(teacher, _unit_batches(run, pairs, part.draws), part.layers), part.path)


def _unit_batches(run: Run, pairs: PairSource, draws: Sequence[range]) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in pairs.batches(draws):
        yield to_unit(to_device(batch.images, run.device)), to_device(batch.masks, run.device)
