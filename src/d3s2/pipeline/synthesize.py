"""Stage synthesize: for each chosen mask an image, without guidance and with it, from the same noise.

Items are worked on in batches whose members depend on the plan only, never on what a stopped run had finished: a batch
that is incomplete is sampled again as it was, so that a resumed run ends with the same bytes, on a GPU too, where they
depend on what is sampled together (`synthesis.guided`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.fingerprint import digest_of
from d3s2.base.formats.json_text import MAKE_AGAIN
from d3s2.base.formats.records import read_record
from d3s2.base.machine.runtime import commit, hardware, peak_memory_gib, versions
from d3s2.execution import Piece, executor_of
from d3s2.pipeline.fingerprint import fingerprint
from d3s2.pipeline.fitting.fit import Models, teacher_record
from d3s2.pipeline.run import UNGUIDED_FOLDER, Run
from d3s2.pipeline.work.batches import GUIDED, TRACES, UNGUIDED, Batch, SetPlan, published, synthesis_work
from d3s2.pipeline.work.workers import workers_for_models
from d3s2.selection import Selection
from d3s2.store import SetWriter, item_id_for
from d3s2.synthesis import Trace
from d3s2.teacher import FeatureBank


@dataclass(frozen=True)
class Begun:
    """The sets of a run that are about to be made.

    Args:
        batches: those that are incomplete; with a share of the work, all.
        missing: sources of the items that each of them still has to make, by its number.
    """

    run: Run
    plans: tuple[SetPlan, ...]
    num_masks: int
    batches: tuple[Batch, ...]
    missing: Mapping[int, list[str]]

    def finish(self) -> None:
        """Finishes the sets, whose items are there, and copies them to where they are published."""
        for plan in self.plans:
            writer, destination = plan.writer(), published(self.run, plan.folder)
            if not writer.finished:
                writer.finish(with_cost(self.run.folder, plan.kind, plan.provenance))
            if destination is not None:
                destination.put_set(plan.folder)


def synthesize(run: Run, selection: Selection, models: Models) -> None:
    """Makes the distilled set in the run's folder, and beside it the one without guidance where it is asked for.

    A process with a share of the work leaves the sets unfinished: `join_run` finishes them.
    """
    begun = begin_sets(run, selection, models)
    make_items(run, [begun], models)
    if run.execution.share is None:
        begun.finish()


def begin_sets(run: Run, selection: Selection, models: Models) -> Begun:
    """Begins the sets of a run, or resumes those that are there."""
    plans = _plans(run, selection, models)
    for plan in plans:
        published(run, plan.folder)  # an address that means nothing is refused now
    with run.alone("begin the set"):
        # The guided set first: where it is of another call, its folder is the one that the call named.
        writers = [plan.begun() for plan in plans[::-1]][::-1]
    batches, missing = _batches(run, selection, writers)
    return Begun(run, plans, len(selection.ids), tuple(batches), missing)


def make_items(lead: Run, begun: Sequence[Begun], models: Models | None) -> None:
    """Makes the items of one run or of several, whose batches are one list of pieces.

    Args:
        lead: whose executor does the pieces, and whose log names them.
        models: of all, where they are loaded already.
    """
    executor = executor_of(lead.execution, lead.folder, lead.device, workers=workers_for_models(lead))
    work = synthesis_work([(one.run, one.plans) for one in begun], models, here=executor.in_this_process)
    pieces, missing = [], {}
    for cell, one in enumerate(begun):
        name = f"{one.run.folder.name}-" if len(begun) > 1 else ""
        for batch in one.batches:
            pieces.append(Piece(f"{name}{batch.number:06d}", replace(batch, cell=cell)))
            missing[pieces[-1].id] = len(one.missing[batch.number])
    num_masks = sum(one.num_masks for one in begun)
    with lead.progress.task("synthesize", num_masks, done=num_masks - sum(missing.values())) as task:
        for outcome in lead.logged(work.step, executor.run(work, pieces)):
            task.advance(missing[outcome.piece])


def _batches(run: Run, selection: Selection, writers: Sequence[SetWriter]) -> tuple[list[Batch], dict[int, list[str]]]:
    """The batches that are incomplete, and the sources of the items that each still has to make."""
    ids, size = selection.ids, run.config.synthesize.batch
    # Of a share nobody reads what all others have made: a record says that its item was whole, and `join` looks.
    done = [None if run.execution.share else frozenset(writer.done()) for writer in writers]
    batches, missing = [], {}
    for number, start in enumerate(range(0, len(ids), size)):
        batch = ids[start : start + size]
        lacking = [
            tuple(one for one in batch if not _has(writer, have, item_id_for(one)))
            for writer, have in zip(writers, done, strict=True)
        ]
        if any(lacking) or run.execution.share is not None:  # every process counts its share of the same pieces
            batches.append(Batch(number, batch, tuple(lacking)))
            missing[number] = [one for one in batch if any(one in each for each in lacking)]
    if batches and not run.execution.share:
        for writer, have in zip(writers, done, strict=True):
            if writer.finished and have is not None and len(have) < len(ids):
                writer.reopen()  # before workers write, which would each do so
    return batches, missing


def _has(writer: SetWriter, done: frozenset[str] | None, item_id: str) -> bool:
    return writer.has(item_id) if done is None else item_id in done


def read_traces(folder: Path, kind: str) -> list[Trace]:
    """The traces of a run, `kind` guided or unguided, in the order of batches."""
    paths = sorted((folder / TRACES).glob(f"{kind}-*.json"))
    traces = [read_record(path, Trace) for path in paths]
    for path, trace in zip(paths, traces, strict=True):
        steps = {len(traces[0].noise), len(trace.noise), *(len(values) for values in trace.energies.values())}
        items = {len(values) for step_values in trace.energies.values() for values in step_values}
        if len(steps) > 1 or len(items) > 1 or trace.energies.keys() != traces[0].energies.keys():
            raise StoreError(f"{path}: holds other numbers of steps or items than it should; {MAKE_AGAIN}.")
    return traces


def _plans(run: Run, selection: Selection, models: Models) -> tuple[SetPlan, ...]:
    """The sets that are made, the one without guidance first."""
    # What the generator is, not where it lies: a run that was moved is the same run. Settings are in the config.
    generator = models.generator.as_record()
    weights = {key: value for key, value in generator.items() if key not in ("model", "settings", "commits")}
    parts = {
        "config": fingerprint(run.config, "synthesize"),
        "data": run.data_digest,
        "selection": digest_of("selection", {"ids": list(selection.ids)}),
        "teacher": digest_of("teacher", dict(models.bank.provenance)),
        "generator": digest_of("generator", weights),
    }
    digest, space = digest_of("synthesize", parts), run.train_data.space

    def provenance(kind: str) -> dict[str, Any]:
        return _provenance(run, selection, models.bank, generator, guided=kind == GUIDED)

    guided = SetPlan(GUIDED, run.folder, digest, space, parts, provenance(GUIDED))
    if not run.config.synthesize.unguided_too:
        return (guided,)
    folder = run.folder / UNGUIDED_FOLDER
    return SetPlan(UNGUIDED, folder, f"{digest}-{UNGUIDED}", space, parts, provenance(UNGUIDED)), guided


def _provenance(
    run: Run, selection: Selection, bank: FeatureBank, generator: dict[str, Any], *, guided: bool
) -> dict[str, Any]:
    """What a manifest says of where its set comes from, all but the cost."""
    return {
        "name": run.config.name if guided else f"{run.config.name}-{UNGUIDED}",
        "config": run.config.model_dump(mode="json"),
        "inputs": {
            "data": run.train_data.name,
            "data_digest": run.data_digest,
            "num_masks": len(run.train_data.ids),
            "selection": selection.method,
        },
        "models": {"teacher": teacher_record(run, bank), "generator": generator, "bank": dict(bank.provenance)},
        "guided": guided,
        "versions": versions(),
        "commit": commit(),
    }


def with_cost(folder: Path, kind: str, provenance: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a set, `kind` guided or unguided, of the run in `folder`."""
    sampling_s = sum(trace.wall_s for trace in read_traces(folder, kind))
    cost = {
        "sampling_s": round(sampling_s, 2),
        "peak_memory_gib": round(peak_memory_gib(), 2),
        "hardware": hardware(),
    }
    return {**provenance, "cost": cost}
