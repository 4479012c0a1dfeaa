"""Stage synthesize: for each chosen mask an image, without guidance and with it, from the same noise.

Items are worked on in batches whose members depend on the plan only, never on what a stopped run had finished: a batch
that is not whole is sampled again as it was, so that a resumed run ends with the same bytes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.files import read_json, sha256_text, write_json
from d3s2.base.runtime import commit, hardware, peak_memory_gib, versions
from d3s2.base.seeds import seed_for, torch_generator
from d3s2.data.pairs import load_masks, to_bytes, to_unit
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.guidance import Refusals, Window, guide, smooth
from d3s2.generator.sample import Sampling, sample
from d3s2.generator.samplers import TimeTravel
from d3s2.selection.picks import Selection
from d3s2.stages.config import GuidanceConfig
from d3s2.stages.fit import Models
from d3s2.stages.run import Run
from d3s2.store.items import ItemFacts, item_id_for
from d3s2.store.writer import SetWriter
from d3s2.teacher.bank import FeatureBank
from d3s2.teacher.judge import Views, agreement, judge, judge_views, losses_of

UNGUIDED = "unguided"  # folder of the set without guidance, inside the run
TRACES = "traces"


@dataclass
class Trace:
    """Energies of one batch at every step, and what sampling it cost.

    Args:
        noise: share of noise of each step.
        l_seg, l_feat: per step, one number an item.
        wall_s: sampling alone, the recording of this trace not counted.
    """

    noise: list[float]
    l_seg: list[list[float]]
    l_feat: list[list[float]]
    wall_s: float = 0.0


@dataclass(frozen=True)
class Sampled:
    """A batch of finished images, and for each the noise it came from, its energies and the teacher's agreement."""

    images: UInt8[Tensor, "b 3 h w"]
    candidate: list[int]
    l_seg: list[float]
    l_feat: list[float]
    accuracy: list[float]
    trace: Trace


def synthesize(run: Run, selection: Selection, models: Models) -> None:
    """Makes the distilled set in the run's folder, and beside it the one without guidance where it is asked for."""
    generator = models.generator.as_record()
    guided_set, unguided_set = _writers(run, selection, generator)
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
    return [Trace(**read_json(path)) for path in sorted((folder / TRACES).glob(f"{kind}-*.json"))]


@dataclass(frozen=True)
class _Place:
    """Where images go, and the items that were whole there before this call."""

    writer: SetWriter
    done: frozenset[str]


def _make_batch(run: Run, models: Models, number: int, batch: Sequence[str], places: Sequence[_Place]) -> None:
    masks = load_masks(run.train_data, batch)
    *unguided_place, guided_place = places
    before = None
    for place in unguided_place:
        before = sample_batch(run, models, batch, masks, guided=False)
        _write(run, place, batch, masks, before, before)
        _write_trace(run, before.trace, f"{UNGUIDED}-{number:06d}")
    after = best_of_candidates(run, models, batch, masks)
    _write_trace(run, after.trace, f"guided-{number:06d}")
    _write(run, guided_place, batch, masks, before, after)


def best_of_candidates(run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"]) -> Sampled:
    """Guided images from several noises a mask; of each mask the one with the lowest segmentation energy is kept."""
    tries = [
        sample_batch(run, models, batch, masks, guided=True, candidate=candidate)
        for candidate in range(run.config.synthesize.candidates)
    ]
    best = np.array([one.l_seg for one in tries]).argmin(axis=0).tolist()
    kept = [tries[k] for k in best]
    steps = range(len(tries[0].trace.noise))
    trace = Trace(
        noise=tries[0].trace.noise,
        l_seg=[[one.trace.l_seg[step][index] for index, one in enumerate(kept)] for step in steps],
        l_feat=[[one.trace.l_feat[step][index] for index, one in enumerate(kept)] for step in steps],
        wall_s=sum(one.trace.wall_s for one in tries),
    )
    return Sampled(
        images=torch.stack([one.images[index] for index, one in enumerate(kept)]),
        candidate=best,
        l_seg=[one.l_seg[index] for index, one in enumerate(kept)],
        l_feat=[one.l_feat[index] for index, one in enumerate(kept)],
        accuracy=[one.accuracy[index] for index, one in enumerate(kept)],
        trace=trace,
    )


def sample_batch(
    run: Run,
    models: Models,
    batch: Sequence[str],
    masks: UInt8[Tensor, "b h w"],
    *,
    guided: bool,
    candidate: int = 0,
) -> Sampled:
    """Images for one batch of masks, with the energies of every step; the same noise with and without guidance."""
    config = run.config.synthesize
    masks = masks.to(run.device)
    noises = [torch_generator(run.config.seed, "noise", source_id, candidate) for source_id in batch]
    trace = Trace([], [], [])
    looking_s = 0.0

    def look(clean: Float[Tensor, "b c h w"], level: Level) -> None:
        nonlocal looking_s
        start = time.perf_counter()
        images = models.generator.decode(clean, for_guidance=True).float()
        losses = judge(models.teacher, models.bank, images, masks)
        trace.noise.append(level.sigma / (level.alpha + level.sigma))
        trace.l_seg.append(_rounded(losses.l_seg))
        trace.l_feat.append(_rounded(losses.l_feat))
        looking_s += time.perf_counter() - start

    start = time.perf_counter()
    images = sample(
        models.generator,
        masks,
        noises,
        Sampling(config.sampler, config.steps, config.guidance_scale, travel=_travel(run)),
        device=run.device,
        guided=_guidance(run, models, batch, masks) if guided else None,
        look=look,
    )
    trace.wall_s = time.perf_counter() - start - looking_s
    # judged as stored: rounded to bytes
    stored = to_bytes(images)
    with torch.no_grad():
        seen = models.teacher(to_unit(stored))
        final, accuracy = losses_of(seen, models.bank, masks), agreement(seen.scores, masks)
    return Sampled(
        images=stored.cpu(),
        candidate=[candidate] * len(batch),
        l_seg=_rounded(final.l_seg),
        l_feat=_rounded(final.l_feat),
        accuracy=_rounded(accuracy),
        trace=trace,
    )


def _guidance(run: Run, models: Models, batch: Sequence[str], masks: UInt8[Tensor, "b h w"]) -> Any:
    config: GuidanceConfig = run.config.synthesize.guidance
    views = Views(config.views, config.shift_px, config.noise, config.flip)
    shaken = [torch_generator(run.config.seed, "views", source_id) for source_id in batch]
    noises = [torch_generator(run.config.seed, "smoothing", source_id) for source_id in batch]
    bank = models.bank if config.l_feat > 0 else None

    def energy(clean: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, " b"]:
        images = models.generator.decode(clean, for_guidance=True).float()
        losses = judge_views(models.teacher, bank, images, masks, views, shaken, by_class=config.by_class)
        return losses.weighted(config.l_seg, config.l_feat)

    def guided(denoiser: Denoiser) -> Denoiser:
        return guide(
            denoiser,
            smooth(energy, config.smoothing, noises, draws=config.smoothing_draws),
            strength=config.strength,
            mode=config.mode,
            full_share=config.full_share,
            window=Window(cleanest=config.window[0], noisiest=config.window[1]),
            inner_steps=config.inner_steps,
            every=config.every,
            refusals=Refusals(tuple(batch)),
        )

    return guided


def _travel(run: Run) -> TimeTravel | None:
    config = run.config.synthesize
    if config.repeats == 1:
        return None
    cleanest, noisiest = config.guidance.window
    return TimeTravel(config.repeats, start=1 - noisiest, end=1 - cleanest)


def _write(
    run: Run,
    place: _Place,
    batch: Sequence[str],
    masks: UInt8[Tensor, "b h w"],
    before: Sampled | None,
    after: Sampled,
) -> None:
    for index, source_id in enumerate(batch):
        item_id = item_id_for(source_id)
        if item_id in place.done:
            continue
        facts = ItemFacts(
            source_id=source_id,
            seed=seed_for(run.config.seed, "noise", source_id, after.candidate[index]),
            candidate=after.candidate[index],
            l_seg_before=before.l_seg[index] if before else None,
            l_seg_after=after.l_seg[index],
            l_feat_before=before.l_feat[index] if before else None,
            l_feat_after=after.l_feat[index],
            teacher_accuracy=after.accuracy[index],
        )
        image = np.ascontiguousarray(after.images[index].permute(1, 2, 0).numpy())
        place.writer.write(item_id, image, masks[index].cpu().numpy(), facts)


def _write_trace(run: Run, trace: Trace, name: str) -> None:
    write_json(run.folder / TRACES / f"{name}.json", trace.__dict__)


def _writers(run: Run, selection: Selection, generator: dict[str, Any]) -> tuple[SetWriter, SetWriter | None]:
    # What the generator is, not where it lies: a run that was moved is the same run. Settings are in the config.
    weights = {key: value for key, value in generator.items() if key not in ("model", "settings")}
    digest = sha256_text(f"{_distilled_part(run)} {run.data_digest} {selection.ids} {weights}")
    space = run.train_data.space
    guided = SetWriter(run.folder, digest, space)
    if not run.config.synthesize.unguided_too:
        return guided, None
    return guided, SetWriter(run.folder / UNGUIDED, f"{digest}-{UNGUIDED}", space)


def _distilled_part(run: Run) -> dict[str, Any]:
    parts = {"name", "seed", "data", "teacher", "generator", "synthesize"}
    return run.config.model_dump(mode="json", include=parts, exclude={"data": {"memory_gib"}})


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
        "models": {"generator": generator, "bank": dict(bank.provenance)},
        "guided": guided,
        "versions": versions(),
        "commit": commit(),
        "cost": {
            "sampling_s": round(sum(trace.wall_s for trace in traces), 2),
            "peak_memory_gib": round(peak_memory_gib(), 2),
            "hardware": hardware(),
        },
    }


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 6) for value in values]
