"""Where a distilled set stays below the best real one, the page says what the images of its masks lose."""

from pathlib import Path

import pytest
import torch
from tiny_run import TINY

from d3s2.pipeline.controls.same_masks import below_best_real, same_masks
from d3s2.pipeline.evaluate import sets_of
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import chosen_masks
from d3s2.recipes import load_run
from d3s2.results.controls import RealChoice
from d3s2.results.records import MetricTitle, Results, SetResult, Spread
from d3s2.set_names import COMPOSED

STUDENT = "compact-unet"


def results_of(chosen: str | None = None, **scores: tuple[float, float]) -> Results:
    rows = [
        SetResult(
            name=name.replace("_", "-"), items=4, bytes=1, student=STUDENT, seeds=(0, 1), iterations=1,
            scores={"miou": Spread.of(mious)}, per_seed={"miou": mious},
        )
        for name, mious in scores.items()
    ]  # fmt: skip
    choices = () if chosen is None else (RealChoice(chosen, False, "scenes/val", STUDENT, {chosen: (0.5,)}),)
    facts = {"class_names": ("sky",), "tail_classes": (0,), "dataset": "scenes/test", "hardware": {}, "versions": {}}
    titles = (MetricTitle("miou", "mIoU"),)
    more = {"date": "2026-11-28", "commit": None, "command": "", "best_real": choices}
    return Results(sets=tuple(rows), metrics=titles, **facts, **more)


def note(results: Results | None, *words: str) -> str:
    return " ".join(below_best_real(results, load_run("scenes", ["select.strips=1", *words])))


def test_a_best_real_set_of_the_same_masks_tells_what_images_lose_and_no_other_set_is_asked_for() -> None:
    found = note(results_of("balanced", best_real=(0.5, 0.52), distilled=(0.46, 0.48)))
    assert found == (
        "Distilled over best real is 0.92. With the same masks, synthetic images against real ones (best real): "
        "-4.0 points (behind)."
    )


def test_another_best_real_set_asks_for_the_real_images_of_the_same_masks_until_they_were_evaluated() -> None:
    scores = {"best_real": (0.5, 0.52), "distilled": (0.46, 0.48)}
    assert "; 'balanced' in evaluate.sets" in note(results_of("herding", **scores))
    assert "(balanced real): +1.0 points" in note(results_of("herding", **scores, balanced=(0.45, 0.47)))
    assert "; 'composed' in evaluate.sets" in note(results_of("balanced", **scores), "select.strips=2")
    words = ("select.method=medoids", "select.features=teacher")
    assert "(medoids): +1.0 points" in note(results_of("herding", **scores, medoids=(0.45, 0.47)), *words)


def test_nothing_is_said_of_a_distilled_set_that_is_not_below() -> None:
    assert note(None) == note(results_of("balanced", best_real=(0.4, 0.42), distilled=(0.46, 0.48))) == ""


@pytest.mark.parametrize(
    "words", [(), ("select.method=medoids", "select.features=teacher"), ("select.method=rarest-first",)]
)
def test_the_set_of_that_name_holds_the_masks_of_the_distilled_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = Run(load_run("scenes", [*TINY, *words]), tmp_path, torch.device("cpu"))
    name = same_masks(run.config)
    assert name is not None
    (members,) = sets_of(run).members(name, seed=0)
    assert tuple(members.ids) == chosen_masks(run).ids


def test_no_name_stands_for_masks_that_another_call_would_not_choose() -> None:
    config = load_run("scenes", ["select.strips=1", "select.method=herding", "evaluate.real_features=teacher"])
    assert same_masks(config) is None  # it goes by class shares, the set by the teacher
    assert same_masks(load_run("scenes", ["select.strips=1", "select.method=random"])) is None
    assert same_masks(load_run("scenes")) == COMPOSED
