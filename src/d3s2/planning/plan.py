"""What a run will do and take, before it does it.

The compact networks are tried out on this machine for a few steps; published ones are counted (see `flops`), so that a
plan needs neither their weights nor a GPU.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from d3s2.base.machine.cores import num_cores
from d3s2.base.machine.runtime import num_threads
from d3s2.data import open_split, published_split
from d3s2.data.files import is_folder, place_of
from d3s2.evaluation import THREADS, ArchitectureSettings, EvaluateSettings, parse_set
from d3s2.execution import workers_for
from d3s2.generator import GENERATORS, FitTrial, GeneratorKind
from d3s2.hub import PRETRAINED, resolve_source
from d3s2.model_cards import MODEL_CARDS
from d3s2.nets import ARCHITECTURES, Architecture
from d3s2.pipeline import RunConfig
from d3s2.planning.flops import basis, fit_s_on, gpu_of, image_s, pixel_share, seconds_on, teacher_tflop
from d3s2.planning.memory import MEMORY_BASIS, guided_gib, largest_batches, sampling_gib, teacher_memory, training_gib
from d3s2.planning.steps import Plan, Step
from d3s2.planning.trials import denoise_step, learning, tried, unet_step, with_threads
from d3s2.selection import masks_for_ratio
from d3s2.set_names import BEST_REAL
from d3s2.store.soft import cell_px_for
from d3s2.synthesis import sampled_together

BYTES_A_PIXEL = 2.5  # of a PNG pair, as measured on small photographs
AVERAGE_BYTES = 4  # of a weight of a generator that is fitted: the averaged one
CHECKPOINT_COPIES = 5  # weights, their average, two moments of the optimiser, the fitted copy


@dataclass(frozen=True)
class _Sizes:
    """How much there is of the data."""

    num_all: int
    num_test: int
    num_classes: int
    notes: tuple[str, ...] = ()


def make_plan(config: RunConfig, device: torch.device, parts: Sequence[str]) -> Plan:
    """The plan of a run; reads no image, loads no published model, asks no network, trains nothing that is kept.

    Where the folder of a known data set is not there, its published sizes are taken.

    Args:
        parts: of 'fit', 'distill', 'evaluate', in the order in which they run.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.planning import make_plan
        >>> config = d3s2.load_run("scenes", ["synthesize.measure_cost=false"])
        >>> plan = make_plan(config, torch.device("cpu"), ("distill",))
        >>> [step.what for step in plan.steps]
        ['census', 'select', 'load teacher', 'feature bank', 'load generator', 'synthesize']
    """
    sizes = _sizes(config)
    ratio, budget = config.select.ratio, config.select.num_masks
    num_masks = masks_for_ratio(ratio, sizes.num_all) if ratio is not None else budget or 0
    trial = _fit_trial(config, device, sizes)
    steps = _fit_steps(config, device, sizes, trial)
    if "distill" in parts:
        steps = [
            Step("census", f"{sizes.num_all:,} masks"),
            Step("select", f"{num_masks:,} masks by {config.select.method}"),
            *steps,
            _synthesize_step(config, device, sizes, num_masks, config.evaluate.draws if "evaluate" in parts else 1),
        ]
    if "evaluate" in parts:
        steps += [_evaluate_step(config, device, sizes, one) for one in config.evaluate.architectures]
    sources = _sources(config, parts)
    cards = [MODEL_CARDS[source] for source in sources if source in MODEL_CARDS]
    models_gib = sum((card.download_gib for card in cards), start=0.0)
    tried = device.type == "cpu" and any(step.estimated_s for step in steps if not step.on_gpu)
    tried_notes = (f"Times are of idle cores ({num_cores()} here), from trials in processor seconds.",) if tried else ()
    gpu_notes = basis(gpu_of(device)) if any(step.on_gpu for step in steps) else ()
    known = MEMORY_BASIS if any(step.memory_gib is not None for step in steps) else None
    largest = largest_batches(config, sizes.num_classes) if "distill" in parts else None
    memory_notes = tuple(note for note in (known, largest) if note is not None)
    return Plan(
        name=config.name,
        device=str(device),
        steps=tuple(steps),
        models=(*(_licence_of(source) for source in sources),),
        models_gib=models_gib,
        disk_gib=models_gib + _written_bytes(config, num_masks, trial.num_weights if trial else 0) / 2**30,
        free_gib=shutil.disk_usage(Path.cwd()).free / 2**30,
        notes=(*sizes.notes, *tried_notes, *gpu_notes, *memory_notes),
    )


def _licence_of(source: str) -> str:
    """What a plan says of a model that is read."""
    card = MODEL_CARDS.get(source)
    if card is not None:
        return f"{card.model_id}: licence {card.licence}; {card.download_gib:g} GiB"
    if PRETRAINED in Path(resolve_source(source)).parents:
        return f"{source}: licence Apache-2.0, as d3s2; comes with it"
    return f"{source}: licence not known here, see where it comes from"


def _sizes(config: RunConfig) -> _Sizes:
    data = config.data
    train, test = (published_split(data.dataset, split) for split in (data.train, data.test))
    if train is None or test is None or (data.root is not None and is_folder(place_of(data.root))):
        train_data, test_data = (open_split(data, split) for split in (data.train, data.test))
        return _Sizes(len(train_data.ids), len(test_data.ids), train_data.space.num_classes)
    why = "data.root is not set" if data.root is None else f"there is no folder {data.root}"
    note = f"Sizes of {data.dataset}: as published ({train[0]:,} and {test[0]:,} pairs), because {why}."
    return _Sizes(train[0], test[0], train[1].num_classes, (note,))


def _sources(config: RunConfig, parts: Sequence[str]) -> list[str]:
    """Ids and folders of models that the run reads, each once."""
    fitted_on = config.teacher.architecture.backbone if config.teacher.source is None else None
    named = [config.teacher.source, fitted_on, *config.generator.named_sources]
    if "evaluate" in parts:
        named += [architecture.backbone for architecture in config.evaluate.architectures]
    return list(dict.fromkeys(source for source in named if source))


def _written_bytes(config: RunConfig, num_masks: int, num_weights: int) -> float:
    height, width = config.data.size
    soft = config.synthesize.soft
    soft_bytes = 2 * soft.num_top / (soft.cell_px or cell_px_for((height, width))) ** 2 if soft else 0.0
    return 2 * num_masks * height * width * (BYTES_A_PIXEL + soft_bytes) + CHECKPOINT_COPIES * 4 * num_weights


def _fit_trial(config: RunConfig, device: torch.device, sizes: _Sizes) -> FitTrial | None:
    """A step of the generator's fit; None where none is fitted, or it cannot be tried out."""
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    if not config.generator.is_fitted_here or kind.fit_trial is None:
        return None
    return kind.fit_trial(config.generator, sizes.num_classes, config.data.size, device)


def _fit_steps(config: RunConfig, device: torch.device, sizes: _Sizes, trial: FitTrial | None) -> list[Step]:
    steps = []
    if config.teacher.source is None:
        steps.append(_fit_teacher_step(config, device, sizes))
    else:
        steps.append(Step("load teacher", config.teacher.source))
    seen = teacher_tflop(config)
    pass_s = seconds_on(gpu_of(device), "segmentation", sizes.num_all * seen) if seen else None
    steps.append(Step("feature bank", f"one pass over {sizes.num_all:,} pairs", pass_s, pass_s is not None))
    generator = config.generator
    if not generator.is_fitted_here:
        steps.append(Step("load generator", generator.summary))
    elif trial is None:
        kind: GeneratorKind = GENERATORS.load(generator.kind)
        fit_s = fit_s_on(config, gpu_of(device))
        fit_gib = kind.fit_gib(generator, config.data.size) if kind.fit_gib is not None else None
        steps.append(Step("fit generator", generator.fit_summary, fit_s, fit_s is not None, fit_gib))
    else:
        amount = f"{trial.num_weights / 1e6:.1f} M weights, {generator.fit_summary}"
        one = learning(tried(trial.step, device), trial.num_weights, AVERAGE_BYTES)
        step_s = with_threads(one.seconds, num_threads(), device)
        steps.append(Step("fit generator", amount, generator.num_fit_steps * step_s, memory_gib=one.gib))
    return steps


def _fit_teacher_step(config: RunConfig, device: torch.device, sizes: _Sizes) -> Step:
    chosen = config.teacher.architecture
    train, entry = chosen.protocol(config.teacher.train), ARCHITECTURES.load(chosen.name)
    amount = f"{chosen.student}, {train.iterations:,} iterations of {train.batch}"
    if entry.tflop is None:
        one = unet_step(train, config.data.size, sizes.num_classes, device)
        step_s = with_threads(one.seconds, num_threads(), device)
        return Step("fit teacher", amount, train.iterations * step_s, memory_gib=one.gib)
    passes = 3 * train.iterations * train.batch
    work = passes * entry.tflop * pixel_share(config.data.size)
    return Step(
        "fit teacher",
        amount,
        seconds_on(gpu_of(device), "segmentation", work),
        on_gpu=True,
        memory_gib=training_gib(entry, train, config.data.size),
    )


def _synthesize_step(config: RunConfig, device: torch.device, sizes: _Sizes, num_masks: int, draws: int) -> Step:
    settings = config.synthesize
    sets = 2 if settings.unguided_too else 1
    draws_text = f" x {draws} draws" if draws > 1 else ""
    sets_text = f"{num_masks:,} images x {sets - 1 + settings.candidates}{draws_text}"
    num_masks *= draws
    amount = f"{sets_text}, {settings.steps_taken:.0f} steps, guidance {settings.guidance.rule}"
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    if kind.fresh is None:
        one_s = image_s(config, gpu_of(device))
        memory = sampling_gib(config, sizes.num_classes)
        return Step("synthesize", amount, one_s and num_masks * one_s, one_s is not None, memory)
    # Guidance in `fast` mode costs about the half again of an unguided sample (docs/guidance.md).
    together, factor = sampled_together(settings.batch, device), sets - 1 + 1.5 * settings.candidates
    batches = -(-num_masks // together)
    generator = kind.fresh(config.generator, sizes.num_classes, 0, device)
    one = denoise_step(generator, together, settings.guidance_scale, config.data.size, device)
    teacher = teacher_memory(config, sizes.num_classes)
    guiding = 0.0 if teacher is None else teacher.weights_gib + guided_gib(config, teacher, together)
    seconds = batches * settings.steps_taken * factor * one.seconds
    return Step("synthesize", amount, seconds, memory_gib=one.gib + guiding)


def num_choosing(settings: EvaluateSettings) -> int:
    """Students that choose the best real subset, for each kind of labels that is asked for."""
    labels = {part.soft for name in settings.sets for part in parse_set(name) if part.source == BEST_REAL}
    return len(labels) * len(settings.best_real.candidates) * (settings.best_real.seeds or settings.seeds)


def _evaluate_step(config: RunConfig, device: torch.device, sizes: _Sizes, architecture: ArchitectureSettings) -> Step:
    settings, train = config.evaluate, architecture.protocol(config.evaluate.train)
    count = len(settings.sets) * settings.seeds
    if architecture == settings.architectures[0]:
        count += num_choosing(settings)
    amount = f"{count} students, {architecture.student}, {train.iterations:,} iterations of {train.batch}"
    together = settings.devices_per_student
    workers = workers_for(settings.workers, device, together)
    if together > 1:
        amount += f" on {together} devices"
    entry: Architecture = ARCHITECTURES.load(architecture.name)
    if entry.tflop is None:
        part = train.model_copy(update={"batch": train.batch // together})
        one = unet_step(part, config.data.size, sizes.num_classes, device)
        step_s = with_threads(one.seconds, THREADS, device)
        seconds = count * train.iterations * step_s / workers
        return Step("evaluate", amount, seconds, memory_gib=workers * one.gib)
    tflop = entry.tflop * pixel_share(config.data.size)
    num_scores = 1 + ((train.iterations - 1) // settings.score_every if settings.score_every else 0)
    passes = 3 * train.iterations * train.batch + num_scores * sizes.num_test
    part = train.model_copy(update={"batch": train.batch // together})
    return Step(
        "evaluate",
        amount,
        count * seconds_on(gpu_of(device), "segmentation", passes * tflop),
        on_gpu=True,
        memory_gib=training_gib(entry, part, config.data.size),
    )
