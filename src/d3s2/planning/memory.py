"""Memory of a GPU that the published networks take, for plans of runs that cannot be tried out here.

Everything is counted in float32: a run that computes in 16 bits takes less. What lies beside the weights grows with
pixels and batch.
"""

from d3s2.model_cards import MODEL_CARDS
from d3s2.nets import Architecture
from d3s2.pipeline import RunConfig
from d3s2.planning.flops import pixel_share
from d3s2.student import TrainSettings

TRAINING_BYTES = 16
"""Of a weight that is trained: itself, its gradient, and AdamW's two moments."""

SAMPLING_GIB = {"unguided": 4 * 0.68, "fast": 4 * 1.24, "full": 4 * 2.09}
"""Beside the weights, of one image of 512 x 512 px. Source: four times what benchmarks/guidance.py measured at 256 px,
Stable Diffusion 1.5 with ControlNet and Mask2Former Swin-S in float32."""

MEMORY_BASIS = (
    "Memory of a GPU is counted in float32, what is held for the backward pass or was measured at 256 px, and taken to "
    "grow with pixels and batch; 16 bits take less."
)


def training_gib(entry: Architecture, train: TrainSettings, size_px: tuple[int, int]) -> float | None:
    """Of a training: weights with all that belongs to them, and what a part of a batch holds for its backward pass."""
    if entry.memory is None:
        return None
    pictures = -(-train.batch // train.accumulate) * pixel_share(train.augmentation.crop_px or size_px)
    return entry.memory.weights_m * 1e6 * TRAINING_BYTES / 2**30 + pictures * entry.memory.held_gib


def sampling_gib(config: RunConfig) -> float | None:
    """Of stage 2: the weights of generator and teacher, and what a batch holds; None where they are not published."""
    names = [config.teacher.source, *config.generator.named_sources]
    cards = [MODEL_CARDS[name] for name in names if name in MODEL_CARDS]
    if not cards:
        return None
    rule = config.synthesize.guidance.rule
    image_gib = SAMPLING_GIB["fast" if rule == "fast" else "full"]
    held = config.synthesize.batch * image_gib * pixel_share(config.data.size)
    return sum(card.download_gib for card in cards) + held
