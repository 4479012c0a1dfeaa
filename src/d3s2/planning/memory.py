"""Memory of a card that the published networks take, counted on their shapes: for plans of runs that cannot be tried
out here.

What each takes stands on its entry: `nets.fresh`, `model_cards`, the generators' kinds.
"""

from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F

from d3s2.base.errors import ModelError
from d3s2.generator import GENERATORS, GeneratorKind
from d3s2.hub import resolve_source
from d3s2.model_cards import MODEL_CARDS
from d3s2.nets import ARCHITECTURES, Architecture
from d3s2.nets.compact import CompactUNet, read_compact
from d3s2.pipeline import RunConfig
from d3s2.planning.flops import pixel_share, teacher_passes
from d3s2.planning.living import GIB, peak_gib, weights_gib
from d3s2.student import TrainSettings

TRAINING_BYTES = 16
"""Of a weight that is trained: itself, its gradient, and AdamW's two moments."""

CARDS_GIB = (12, 16, 24, 48, 80)
RESERVED_GIB = 2.0
"""Of a card, for CUDA, its libraries and what lies scattered. Source: an H100 held 0.9 GiB more than is counted
(benchmarks/guidance-bfloat16_nvidia-h100_2026-11-27.json), without CUDA's own."""
MOST_IMAGES = 512

MEMORY_BASIS = (
    "Memory is counted: weights, and what lives at once or is held for the backward pass, of teachers and students in "
    "float32, of generators as generator.compute says. What Python, torch and CUDA take for themselves comes on top."
)


class TeacherMemory(NamedTuple):
    """What a teacher takes while it guides.

    Args:
        weights_gib: in float32.
        held_gib: beside them, of one image of the run, the way back to it included.
    """

    weights_gib: float
    held_gib: float


def training_gib(entry: Architecture, train: TrainSettings, size_px: tuple[int, int]) -> float | None:
    """Of a training: weights with all that belongs to them, and what a part of a batch holds for its backward pass."""
    if entry.memory is None:
        return None
    pictures = -(-train.batch // train.accumulate) * pixel_share(train.augmentation.crop_px or size_px)
    return entry.memory.weights_m * 1e6 * TRAINING_BYTES / GIB + pictures * entry.memory.held_gib


def sampling_gib(config: RunConfig, num_classes: int, batch: int | None = None) -> float | None:
    """Of synthesis: all weights, and the most that a batch takes at once; None for an unknown teacher or generator.

    Args:
        batch: instead of `synthesize.batch`.
    """
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    teacher = teacher_memory(config, num_classes)
    if kind.counted is None or teacher is None:
        return None
    settings, taken = config.synthesize, kind.counted.memory(config.generator, config.data.size)
    count = batch or settings.batch
    passes = count * (1 if settings.guidance_scale == 1 else 2)
    held, through = guided_gib(config, teacher, count), settings.guidance.rule != "fast"
    return teacher.weights_gib + taken.step_gib(count, passes, teacher_gib=held, through=through)


def largest_batches(config: RunConfig, num_classes: int) -> str | None:
    """The largest `synthesize.batch` of cards, for a person; None where nothing is known. A batch decides on bytes, so
    it is part of the recipe, and never found anew while a run goes on."""

    def taken(batch: int) -> float:
        return sampling_gib(config, num_classes, batch) or 0.0

    if not taken(1):
        return None
    most = {
        card_gib: bisect_right(range(1, MOST_IMAGES + 1), card_gib - RESERVED_GIB, key=taken) for card_gib in CARDS_GIB
    }
    fitting = ", ".join(f"{count} into {card_gib} GiB" for card_gib, count in most.items() if count)
    return f"Largest synthesize.batch by memory: {fitting or f'none into {CARDS_GIB[-1]} GiB'}."


def guided_gib(config: RunConfig, teacher: TeacherMemory, count: int) -> float:
    """What the teacher holds of so many images that are guided together, of all its views of them."""
    return count * max(1, config.synthesize.guidance.views.count) * teacher.held_gib


def teacher_memory(config: RunConfig, num_classes: int) -> TeacherMemory | None:
    """Of the run's teacher: a published network, one that is fitted as such, or a compact U-Net; None for others."""
    chosen = config.teacher
    entry: Architecture = ARCHITECTURES.load(chosen.architecture.name)
    if chosen.source is None and entry.memory is not None:
        return TeacherMemory(entry.memory.weights_m * 4e6 / GIB, entry.memory.held_gib * teacher_passes(config))
    if chosen.source is None:
        width = chosen.architecture.protocol(chosen.train).width
        return _compact_memory(CompactUNet(num_classes=num_classes, width=width), config.data.size)
    card = MODEL_CARDS.get(chosen.source)
    if card is not None:
        held = None if card.held_gib is None else card.held_gib * teacher_passes(config)
        return None if held is None else TeacherMemory(card.download_gib, held)
    try:
        network, _ = read_compact(Path(resolve_source(chosen.source)))
    except ModelError:
        return None
    return _compact_memory(network, config.data.size)


def _compact_memory(network: CompactUNet, size_px: tuple[int, int]) -> TeacherMemory:
    weights = weights_gib(network)
    network, where = network.eval().requires_grad_(False).to("meta"), torch.device("meta")
    images = torch.zeros(1, 3, *size_px, device=where, requires_grad=True)
    masks = torch.zeros(1, *size_px, dtype=torch.long, device=where)
    return TeacherMemory(weights, peak_gib(lambda: F.cross_entropy(network(images).scores, masks).backward()))
