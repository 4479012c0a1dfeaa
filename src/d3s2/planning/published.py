"""What published models and whole recipes take of a card, by what their entries say: for `d3s2 doctor`."""

from dataclasses import dataclass

import torch

from d3s2.generator import GENERATORS, GeneratorKind
from d3s2.model_cards import ModelCard
from d3s2.nets import ARCHITECTURES
from d3s2.pipeline import RunConfig
from d3s2.planning.flops import Gpu, basis, seconds_on, teacher_tflop
from d3s2.planning.memory import MEMORY_BASIS
from d3s2.planning.plan import make_plan
from d3s2.planning.steps import gib_text

SIZE_PX = (512, 512)


@dataclass(frozen=True)
class Takes:
    """Of a card, for a step that guides one image of `SIZE_PX` by the rule `fast`; a generator and a teacher add up.

    Args:
        gib: weights, and the most that lives at once beside them.
        step_s: without classifier-free guidance, which takes a generator's pass twice.
    """

    gib: float
    step_s: float

    def as_text(self) -> str:
        """For a person."""
        return f"{gib_text(self.gib)} of a card, {1000 * self.step_s:.0f} ms a step"


@dataclass(frozen=True)
class RecipeFinding:
    """A recipe, evaluated as it stands.

    Args:
        models: those that it reads, a line each with licence and size; `models_gib` is of all of them.
        gpu_h: None where it has networks that are tried out instead of counted; `memory_gib` too.
    """

    name: str
    models: tuple[str, ...] = ()
    models_gib: float = 0.0
    gpu_h: float | None = None
    memory_gib: float | None = None

    def as_text(self) -> str:
        """For a person."""
        if self.gpu_h is None or self.memory_gib is None:
            return f"  {self.name}: compact networks; `d3s2 evaluate {self.name} --dry-run` tries them out here"
        taken = f"{self.gpu_h:,.0f} h, {gib_text(self.memory_gib)} of a card, {self.models_gib:.1f} GiB of models"
        return "\n".join([f"  {self.name}: {taken}", *(f"      {model}" for model in self.models)])


def takes_of(card: ModelCard, gpu: Gpu) -> Takes | None:
    """What a network takes that guides, or a generator on a text-to-image model with its ControlNet; None for parts
    of one, and where nothing is counted."""
    if card.tflop is not None and card.held_gib is not None:
        return Takes(card.download_gib + card.held_gib, seconds_on(gpu, "segmentation", 2 * card.tflop))
    for name in GENERATORS:
        kind: GeneratorKind = GENERATORS.load(name)
        found = None if kind.counted is None else kind.counted.published(card.model_id, SIZE_PX)
        if found is not None:
            cost, memory = found
            step_s = seconds_on(gpu, "diffusion", cost.network + 2 * cost.guidance_decoder)
            return Takes(memory.step_gib(count=1, passes=1), step_s)
    return None


def recipe_takes(name: str, config: RunConfig, device: torch.device) -> RecipeFinding:
    """A recipe's plan in short; none of its networks is built or tried out."""
    kind: GeneratorKind = GENERATORS.load(config.generator.kind)
    students = [ARCHITECTURES.load(one.name).tflop for one in config.evaluate.architectures]
    if kind.counted is None or teacher_tflop(config) is None or None in students:
        return RecipeFinding(name)
    plan = make_plan(config, device, ("distill", "evaluate"))
    return RecipeFinding(name, plan.models, plan.models_gib, plan.gpu_h, plan.memory_gib)


def counted_basis(gpu: Gpu) -> tuple[str, ...]:
    """What the figures rest on, for a person."""
    return (
        f"Of a card, and a step: one image of {SIZE_PX[0]} x {SIZE_PX[1]} px that is guided by `fast`; generators in "
        "bfloat16, with ControlNet and tiny decoder, without classifier-free guidance. The guiding network adds to it.",
        *basis(gpu),
        MEMORY_BASIS,
    )
