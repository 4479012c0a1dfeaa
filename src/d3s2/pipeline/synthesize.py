"""Stage synthesize: for each chosen mask an image, without guidance and with it, from the same noise.

Items are worked on in batches whose members depend on the plan only, never on what a stopped run had finished: a batch
that is incomplete is sampled again as it was, so that a resumed run ends with the same bytes, on a GPU too, where they
depend on what is sampled together (`synthesis.guided`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.errors import StoreError
from d3s2.base.fingerprint import digest_of
from d3s2.base.formats.files import write_json
from d3s2.base.formats.json_text import MAKE_AGAIN
from d3s2.base.formats.records import read_record
from d3s2.base.machine.runtime import commit, hardware, peak_memory_gib, versions
from d3s2.data import open_pairs
from d3s2.pipeline.fingerprint import fingerprint
from d3s2.pipeline.fitting.fit import Models, teacher_record
from d3s2.pipeline.run import UNGUIDED_FOLDER, Run
from d3s2.selection import Selection
from d3s2.store import ItemFacts, SetWriter, item_id_for, noise_seed
from d3s2.synthesis import Sampled, Trace, best_of, guided_sample, item_noise, require_finite
from d3s2.teacher import FeatureBank

UNGUIDED = UNGUIDED_FOLDER
TRACES = "traces"


def synthesize(run: Run, selection: Selection, models: Models) -> None:
    """Makes the distilled set in the run's folder, and beside it the one without guidance where it is asked for."""
    generator = models.generator.as_record()
    guided_set, unguided_set = _writers(run, selection, generator, models.bank)
    config = run.config.synthesize
    ids = selection.ids
    batches = [ids[start : start + config.batch] for start in range(0, len(ids), config.batch)]
    places = [_Place(writer, frozenset(writer.done())) for writer in (unguided_set, guided_set) if writer is not None]
    done = frozenset.intersection(*(place.done for place in places))
    finished = sum(item_id_for(source_id) in done for source_id in ids)
    with run.progress.task("synthesize", len(ids), done=finished) as task:
        for number, batch in enumerate(batches):
            missing = [source_id for source_id in batch if item_id_for(source_id) not in done]
            if missing:
                _make_batch(run, models, number, batch, places)
                task.advance(len(missing))
    for place in places:
        if not place.writer.finished:
            place.writer.finish(_manifest(run, selection, models.bank, generator, guided=place.writer is guided_set))


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


@dataclass(frozen=True)
class _Place:
    """Where images go, and the items that were whole there before this call."""

    writer: SetWriter
    done: frozenset[str]


def _make_batch(run: Run, models: Models, number: int, batch: Sequence[str], places: Sequence[_Place]) -> None:
    masks, images = _pairs(run, batch)
    *unguided_place, guided_place = places
    before = None
    for place in unguided_place:
        before = require_finite(batch, _sampled(run, models, batch, masks, images, guided=False))
        _write(run, place, batch, before, before)
        _write_trace(run, before.trace, f"{UNGUIDED}-{number:06d}")
    candidates = range(run.config.synthesize.candidates)
    tries = [_sampled(run, models, batch, masks, images, guided=True, candidate=candidate) for candidate in candidates]
    after = require_finite(batch, best_of(tries, run.config.synthesize.guidance))
    _write_trace(run, after.trace, f"guided-{number:06d}")
    _write(run, guided_place, batch, before, after)


def _pairs(run: Run, batch: Sequence[str]) -> tuple[UInt8[Tensor, "b h w"], UInt8[Tensor, "b 3 h w"] | None]:
    """Masks, and the real images of these masks where sampling starts from them; they are not read otherwise."""
    pairs, every = open_pairs(run.train_data, batch), range(len(batch))
    if run.config.synthesize.start == 1:
        return pairs.take_masks(every), None
    read = pairs.take(every)
    return read.masks, read.images


def _sampled(
    run: Run,
    models: Models,
    batch: Sequence[str],
    masks: UInt8[Tensor, "b h w"],
    images: UInt8[Tensor, "b 3 h w"] | None,
    *,
    guided: bool,
    candidate: int = 0,
) -> Sampled:
    """The same noise with and without guidance."""
    noises = [item_noise(run.config.seed, source_id, candidate) for source_id in batch]
    return guided_sample(
        models.generator,
        models.teacher,
        models.bank,
        masks,
        noises,
        run.config.synthesize,
        device=run.device,
        images=images,
        guided=guided,
    )


def _write(run: Run, place: _Place, batch: Sequence[str], before: Sampled | None, after: Sampled) -> None:
    for index, (source_id, item) in enumerate(zip(batch, after.items, strict=True)):
        item_id = item_id_for(source_id)
        if item_id in place.done:
            continue
        facts = ItemFacts(
            source_id=source_id,
            seed=noise_seed(run.config.seed, source_id, item.candidate),
            candidate=item.candidate,
            energies_before=before.items[index].energies if before else {},
            energies_after=item.energies,
            teacher_accuracy=item.accuracy,
        )
        place.writer.write(item_id, item.image, item.mask, facts, item.soft)


def _write_trace(run: Run, trace: Trace, name: str) -> None:
    write_json(run.folder / TRACES / f"{name}.json", asdict(trace))


def _writers(
    run: Run, selection: Selection, generator: dict[str, Any], bank: FeatureBank
) -> tuple[SetWriter, SetWriter | None]:
    # What the generator is, not where it lies: a run that was moved is the same run. Settings are in the config.
    weights = {key: value for key, value in generator.items() if key not in ("model", "settings", "commits")}
    parts = {
        "config": fingerprint(run.config, "synthesize"),
        "data": run.data_digest,
        "selection": digest_of("selection", {"ids": list(selection.ids)}),
        "teacher": digest_of("teacher", dict(bank.provenance)),
        "generator": digest_of("generator", weights),
    }
    digest, space = digest_of("synthesize", parts), run.train_data.space
    guided = SetWriter(run.folder, digest, space, parts)
    if not run.config.synthesize.unguided_too:
        return guided, None
    return guided, SetWriter(run.folder / UNGUIDED, f"{digest}-{UNGUIDED}", space, parts)


def _manifest(
    run: Run, selection: Selection, bank: FeatureBank, generator: dict[str, Any], *, guided: bool
) -> dict[str, Any]:
    traces = read_traces(run.folder, "guided" if guided else UNGUIDED)
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
        "cost": {
            "sampling_s": round(sum(trace.wall_s for trace in traces), 2),
            "peak_memory_gib": round(peak_memory_gib(), 2),
            "hardware": hardware(),
        },
    }
