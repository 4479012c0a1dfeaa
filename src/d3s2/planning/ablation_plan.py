"""What an ablation will do and take: the plan of the recipe's run, with its sets and students multiplied."""

from dataclasses import replace

import torch

from d3s2.data import open_split
from d3s2.evaluation import parse_set
from d3s2.pipeline import Grid, RunConfig, Variant, folder_name
from d3s2.planning.plan import make_plan, num_choosing
from d3s2.planning.steps import Plan, Step
from d3s2.results import REFERENCE
from d3s2.selection import masks_for_ratio
from d3s2.set_names import parse_name


def plan_ablation(grid: Grid, device: torch.device) -> Plan:
    """What an ablation will do and take: the plan of the recipe's run, with its sets and students multiplied."""
    base = Variant(REFERENCE, "recipe").config(grid.config)
    plan = make_plan(base, device, ("distill", "evaluate"))
    num_all = len(open_split(base.data, base.data.train).ids)
    work = sum(_sampling_work(config, num_all) for config in grid.runs.values())
    choosing = num_choosing(base.evaluate)
    students = _num_students(grid) + choosing
    per_call = len(base.evaluate.sets) * base.evaluate.seeds + choosing
    steps = {
        "synthesize": (
            f"{len(grid.runs)} sets for {len(grid.variants)} variants",
            work / _sampling_work(base, num_all),
        ),
        "evaluate": (f"{students} students, scored on {grid.split}", students / per_call),
    }
    return replace(plan, steps=tuple(_scaled(step, *steps.get(step.what, (step.amount, 1.0))) for step in plan.steps))


def _scaled(step: Step, amount: str, factor: float) -> Step:
    return replace(step, amount=amount, estimated_s=None if step.estimated_s is None else step.estimated_s * factor)


def _sampling_work(config: RunConfig, num_all: int) -> float:
    """Steps of all images; a guided step counts as 1.5 in `fast` mode and 2.5 where the network is differentiated."""
    settings = config.synthesize
    num_masks = masks_for_ratio(config.select.ratio, num_all) if config.select.ratio else config.select.num_masks or 0
    guided = 1.5 if settings.guidance.rule == "fast" else 2.5
    cost = (guided if settings.guidance.strength > 0 else 1.0) + (1.0 if settings.unguided_too else 0.0)
    return num_masks * settings.steps_taken * settings.candidates * settings.repeats * cost


def _num_students(grid: Grid) -> int:
    """Different ones: a real set of one budget is trained once."""
    sets: set[tuple[str, str, float | None]] = {
        (name, "" if parse_name(name).takes_all else str(grid.config.select), _soft_weight(name, grid.config))
        for name in grid.references
    }
    for variant in grid.variants:
        config = variant.config(grid.config)
        made = folder_name(config, grid.config)
        sets |= {
            (name, made if parse_name(name).is_made_here else str(config.select), _soft_weight(name, config))
            for name in variant.sets
        }
    settings = grid.config.evaluate
    return len(sets) * settings.seeds * len(settings.architectures)


def _soft_weight(name: str, config: RunConfig) -> float | None:
    return config.evaluate.soft_weight if any(part.soft for part in parse_set(name)) else None
