"""Synthesis as pieces of work: a batch of masks each, whose items are written into the run's sets as they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.formats.files import write_json
from d3s2.data import LabelSpace, open_pairs
from d3s2.execution import Task, Work
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.run import UNGUIDED_FOLDER, Run
from d3s2.pipeline.work.workers import needs_of, worker_run
from d3s2.store import Destination, ItemFacts, SetWriter, item_id_for, keep_provenance, noise_seed
from d3s2.synthesis import Sampled, Trace, best_of, guided_sample, item_noise, require_finite

GUIDED, UNGUIDED = "guided", UNGUIDED_FOLDER
TRACES = "traces"


@dataclass(frozen=True)
class SetPlan:
    """A set that is made: how it is known, and where its items go.

    Args:
        kind: guided or unguided.
        digest, parts: as for `SetWriter`.
        provenance: its manifest, all but the cost.
    """

    kind: str
    folder: Path
    digest: str
    space: LabelSpace
    parts: Mapping[str, str]
    provenance: dict[str, Any]

    def writer(self) -> SetWriter:
        """What writes its items."""
        return SetWriter(self.folder, self.digest, self.space, self.parts)

    def begun(self) -> SetWriter:
        """The same, with the provenance kept beside the items until `join` or the end of the run needs it."""
        writer = self.writer()
        if not writer.finished:
            keep_provenance(self.folder, self.provenance, self.space)
        return writer


@dataclass(frozen=True)
class Batch:
    """Masks that are sampled together.

    Args:
        number: of the batch in the plan.
        sources: ids of its masks.
        missing: for each set, those whose items have to be written.
        cell: position of its run among those whose items are made together.
    """

    number: int
    sources: tuple[str, ...]
    missing: tuple[tuple[str, ...], ...]
    cell: int = 0


Cell = tuple[Run, tuple[SetPlan, ...]]
"""A run and the sets that it makes; the variants of an ablation are several."""


def synthesis_work(cells: Sequence[Cell], models: Models | None, *, here: bool) -> Work[Batch, None]:
    """What is done with each batch.

    Args:
        models: of all cells, where they are loaded already.
        here: this process does pieces itself.
    """
    writers = [[plan.writer() for plan in plans] for _, plans in cells]

    def is_done(batch: Batch) -> bool:
        item_ids = [item_id_for(source_id) for source_id in batch.sources]
        return all(writer.has(item_id) for writer in writers[batch.cell] for item_id in item_ids)

    return Work(
        "synthesize",
        _begin,
        tuple((worker_run(run), plans) for run, plans in cells),
        needs_of(cells[0][0].device),
        advice="lower synthesize.batch or --workers",
        here=_task_of(cells, models) if here else None,
        is_done=is_done,
    )


def _begin(cells: Sequence[Cell]) -> Task[Batch, None]:
    return _task_of(cells, None)


def _task_of(cells: Sequence[Cell], models: Models | None) -> Task[Batch, None]:
    opened: dict[int, tuple[Models, list[SetWriter]]] = {}

    def make(batch: Batch) -> None:
        run, plans = cells[batch.cell]
        if batch.cell not in opened:
            opened.clear()  # one cell after the other: a worker holds the models of one
            opened[batch.cell] = models or fit_models(run), [plan.writer() for plan in plans]
        _make(run, *opened[batch.cell], batch)

    return make


def _make(run: Run, models: Models, writers: Sequence[SetWriter], batch: Batch) -> None:
    pairs = _pairs(run, batch.sources)
    *unguided_writer, guided_writer = writers
    *unguided_missing, guided_missing = batch.missing
    before = None
    for writer, missing in zip(unguided_writer, unguided_missing, strict=True):
        before = require_finite(batch.sources, _sampled(run, models, batch, pairs, guided=False))
        _write(run, writer, batch, missing, before, before)
        _write_trace(run, before.trace, f"{UNGUIDED}-{batch.number:06d}")
    candidates = range(run.config.synthesize.candidates)
    tries = [_sampled(run, models, batch, pairs, guided=True, candidate=candidate) for candidate in candidates]
    after = require_finite(batch.sources, best_of(tries, run.config.synthesize.guidance))
    _write_trace(run, after.trace, f"{GUIDED}-{batch.number:06d}")
    _write(run, guided_writer, batch, guided_missing, before, after)


def _pairs(run: Run, ids: Sequence[str]) -> tuple[UInt8[Tensor, "b h w"], UInt8[Tensor, "b 3 h w"] | None]:
    """Masks, and the real images of these masks where sampling starts from them; they are not read otherwise."""
    pairs, every = open_pairs(run.source_data, ids), range(len(ids))
    if run.config.synthesize.start == 1:
        return pairs.take_masks(every), None
    read = pairs.take(every)
    return read.masks, read.images


def _sampled(
    run: Run,
    models: Models,
    batch: Batch,
    pairs: tuple[UInt8[Tensor, "b h w"], UInt8[Tensor, "b 3 h w"] | None],
    *,
    guided: bool,
    candidate: int = 0,
) -> Sampled:
    """The same noise with and without guidance."""
    masks, images = pairs
    return guided_sample(
        models.generator,
        models.teacher,
        models.bank,
        masks,
        [item_noise(run.config.seed, source_id, candidate) for source_id in batch.sources],
        run.config.synthesize,
        device=run.device,
        images=images,
        guided=guided,
    )


def _write(
    run: Run, writer: SetWriter, batch: Batch, missing: Sequence[str], before: Sampled | None, after: Sampled
) -> None:
    for index, (source_id, item) in enumerate(zip(batch.sources, after.items, strict=True)):
        if source_id not in missing:
            continue
        facts = ItemFacts(
            source_id=source_id,
            seed=noise_seed(run.config.seed, source_id, item.candidate),
            candidate=item.candidate,
            energies_before=before.items[index].energies if before else {},
            energies_after=item.energies,
            teacher_accuracy=item.accuracy,
        )
        written = writer.write(item_id_for(source_id), item.image, item.mask, facts, item.soft)
        destination = published(run, writer.folder)
        if destination is not None:
            destination.put_item(writer.folder, written)


def published(run: Run, folder: Path) -> Destination | None:
    """Where a set of the run, which lies in `folder`, is copied to."""
    if run.execution.publish is None:
        return None
    whole = Destination(run.execution.publish)
    return whole if folder == run.folder else whole.below(folder.relative_to(run.folder).as_posix())


def _write_trace(run: Run, trace: Trace, name: str) -> None:
    write_json(run.folder / TRACES / f"{name}.json", asdict(trace))
