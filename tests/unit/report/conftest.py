"""A small evaluation whose numbers can be checked in the head."""

from typing import Any

import pytest

from d3s2.results.older_results import TITLES_1
from d3s2.results.records import MetricTitle, Results, SetResult, Spread

MIOUS = {
    "distilled": (0.44, 0.48, 0.46),
    "random": (0.20, 0.24, 0.25),
    "all": (0.80, 0.82, 0.78),
    "distilled-unguided": (0.40, 0.41, 0.39),
}


def row(name: str, mious: tuple[float, ...], **changes: Any) -> SetResult:
    whole = Spread.of(mious)
    mean = whole.mean
    facts: dict[str, Any] = {
        "name": name,
        "items": 2000 if name == "all" else 20,
        "bytes": 28_000_000 if name == "all" else 280_000,
        "student": "compact-unet",
        "seeds": (0, 1, 2),
        "iterations": 400,
        "scores": {"miou": whole, "tail_miou": Spread.of([miou / 2 for miou in mious])},
        "per_seed": {"miou": mious},
        "per_class": {"iou": (mean + 0.1, mean, None, mean - 0.1)},
        "wall_s": 75.0,
        "peak_memory_gib": 1.25,
    }
    return SetResult(**(facts | changes))


@pytest.fixture(scope="session")
def results() -> Results:
    return Results(
        sets=tuple(row(name, mious) for name, mious in MIOUS.items()),
        metrics=tuple(MetricTitle(name, title) for name, title in TITLES_1.items()),
        class_names=("sky", "car & van", "boat", "hydrant"),
        tail_classes=(3,),
        dataset="scenes/val",
        hardware={"cpu": "a processor", "cores": 2, "memory_gib": 7.6},
        date="2026-11-22",
        commit=None,
        command="d3s2 evaluate scenes",
        versions={"d3s2": "0.1.0"},
    )


@pytest.fixture(scope="session")
def failed_row() -> SetResult:
    none: dict[str, Any] = {"wall_s": None, "peak_memory_gib": None}
    empty: dict[str, Any] = {"scores": {}, "per_seed": {}, "per_class": {}}
    return row("all", (0.5,), student="mask2former", seeds=(0,), failure="out of memory", **none, **empty)
