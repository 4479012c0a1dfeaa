"""Stage synthesize: for each chosen mask an image, without guidance and with it, from the same noise.

Items are worked on in batches whose members depend on the plan only, never on what a stopped run had finished: a batch
that is incomplete is sampled again as it was, so that a resumed run ends with the same bytes, on a GPU too, where they
depend on what is sampled together (`synthesis.guided`).
"""

from collections.abc import Sequence
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


def synthesize(run: Run, selection: Selection, models: Models) -> None:
    """Makes the distilled set in the run's folder, and beside it the one without guidance where it is asked for.

    A process with a share of the work leaves the sets unfinished: `join_run` finishes them.
    """
    plans = _plans(run, selection, models)
    destinations = [published(run, plan.folder) for plan in plans]  # an address that means nothing is refused now
    with run.alone("begin the set"):
        # The guided set first: where it is of another call, its folder is the one that the call named.
        writers = [plan.begun() for plan in plans[::-1]][::-1]
    batches, missing = _batches(run, selection, writers)
    executor = executor_of(run.execution, run.folder, run.device, workers=workers_for_models(run))
    work = synthesis_work(run, models if executor.in_this_process else None, plans)
    ids, finished = selection.ids, len(selection.ids) - sum(map(len, missing.values()))
    with run.progress.task("synthesize", len(ids), done=finished) as task:
        for outcome in run.logged(work.step, executor.run(work, batches)):
            task.advance(len(missing[outcome.piece]))
    if run.execution.share is None:
        for plan, writer, destination in zip(plans, writers, destinations, strict=True):
            if not writer.finished:
                writer.finish(with_cost(run.folder, plan.kind, plan.provenance))
            if destination is not None:
                destination.put_set(plan.folder)


def _batches(
    run: Run, selection: Selection, writers: Sequence[SetWriter]
) -> tuple[list[Piece[Batch]], dict[str, list[str]]]:
    """The batches that are incomplete, and the sources of the items that each still has to make."""
    ids, size = selection.ids, run.config.synthesize.batch
    # Of a share nobody reads what all others have made: a record says that its item was whole, and `join` looks.
    done = [None if run.execution.share else frozenset(writer.done()) for writer in writers]
    pieces, missing = [], {}
    for number, start in enumerate(range(0, len(ids), size)):
        batch = ids[start : start + size]
        lacking = [
            tuple(one for one in batch if not _has(writer, have, item_id_for(one)))
            for writer, have in zip(writers, done, strict=True)
        ]
        if any(lacking) or run.execution.share is not None:  # every process counts its share of the same pieces
            pieces.append(Piece(f"{number:06d}", Batch(number, batch, tuple(lacking))))
            missing[pieces[-1].id] = [one for one in batch if any(one in each for each in lacking)]
    if pieces and not run.execution.share:
        for writer, have in zip(writers, done, strict=True):
            if writer.finished and have is not None and len(have) < len(ids):
                writer.reopen()  # before workers write, which would each do so
    return pieces, missing


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
