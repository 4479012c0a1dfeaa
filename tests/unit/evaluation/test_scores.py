"""Scores follow from counts by name, and rows of seeds become spreads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from d3s2.base.errors import ConfigError, UsageError
from d3s2.evaluation.scores import result_of, results_of, row_of
from d3s2.evaluation.student_records import StudentRecord
from d3s2.metrics.formulas import iou_per_class, mean_iou
from d3s2.metrics.metric import Counts, Metric, metric_named, score_of, shares_of
from d3s2.metrics.table import METRICS
from d3s2.recipes import load_run

COUNTS = Counts(np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]]), np.array([[4, 5, 0], [5, 5, 0], [4, 6, 0]]), (1, 2))
OWN = """
from d3s2.metrics.metric import Metric

def half_right(counts):
    return 0.5

class Parts:
    share_of_sky = Metric("sky", lambda counts: counts.confusion[0, 0] / 20, {"hits": lambda counts: counts.boundary[0]
    / 10})

number, too_much = 3, lambda counts: 7.0
"""


def record(seed: int, confusion: list[list[int]], early: dict[str, float]) -> StudentRecord:
    return StudentRecord(
        set_name="random",
        student="compact-unet",
        seed=seed,
        digest="d",
        depends={},
        items=5,
        bytes=50,
        iterations=100,
        confusion=confusion,
        boundary=[[4, 5, 0], [5, 5, 0], [4, 6, 0]],
        wall_s=2.0,
        peak_memory_gib=1.0 + seed,
        early=early,
    )


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_scores.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_metrics_of_the_table_are_those_of_the_formulas() -> None:
    scores = {name: score_of(name, metric_named(name), COUNTS) for name in METRICS}
    assert scores == {
        "miou": pytest.approx((8 / 10 + 10 / 12) / 2),
        "tail_miou": pytest.approx(10 / 12),  # of the two tail classes the truth holds one
        "boundary_iou": pytest.approx((4 / 5 + 5 / 6) / 2),
        "fw_iou": pytest.approx(0.5 * 8 / 10 + 0.5 * 10 / 12),
        "pixel_accuracy": pytest.approx(18 / 20),
    }
    assert shares_of(metric_named("miou"), COUNTS) == {"iou": (pytest.approx(0.8), pytest.approx(10 / 12), None)}
    assert score_of("tail_miou", metric_named("tail_miou"), replace(COUNTS, tail_classes=())) is None


def test_a_metric_of_ones_own_is_a_function_or_an_entry(own: None) -> None:
    plain, entry = metric_named("own_scores:half_right"), metric_named("own_scores:Parts.share_of_sky")
    assert (plain.title, entry.title) == ("half right", "sky")
    assert score_of("own", plain, COUNTS) == 0.5
    assert score_of("own", entry, COUNTS) == pytest.approx(0.4)
    assert shares_of(entry, COUNTS) == {"hits": (0.4, 0.5, 0.0)}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("own_scores:number", r"metric 'own_scores:number' is .*int, expected"),
        ("own_scores:Parts", r"^The metric 'own_scores:Parts' is a type, expected a function of Counts, or a Metric"),
        ("own_scores:none", r"module 'own_scores' has no 'none'"),
        ("mious", r"^Unknown metric 'mious': known are .*Did you mean 'miou'\?$"),
    ],
)
def test_what_can_be_no_metric_is_a_sentence(own: None, name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        metric_named(name)


def test_a_score_that_is_no_share_is_refused(own: None) -> None:
    with pytest.raises(UsageError, match=r"^The metric 'x' gave 7\.0, expected a share, 0 to 1, or None where nothing"):
        score_of("x", metric_named("own_scores:too_much"), COUNTS)
    assert score_of("x", Metric("x", lambda counts: float("nan")), COUNTS) is None


def test_rows_become_means_and_deviations_of_every_metric() -> None:
    metrics = {name: metric_named(name) for name in METRICS} | {"own": Metric("own", lambda counts: None)}
    counts = ([[8, 2, 0], [0, 10, 0], [0, 0, 0]], [[6, 4, 0], [0, 10, 0], [0, 0, 0]])
    early = ({"30": 0.1, "60": 0.2}, {"60": 0.4})
    rows = [
        row_of(record(seed, *of_seed), (1,), metrics) for seed, of_seed in enumerate(zip(counts, early, strict=True))
    ]
    found = result_of(rows)
    mious = [mean_iou(np.array(confusion)) for confusion in counts]
    assert found.per_seed["miou"] == tuple(mious)
    assert (found.mean("miou"), found.std("miou")) == (
        pytest.approx(np.mean(mious)),
        pytest.approx(np.std(mious, ddof=1)),
    )
    assert list(found.scores) == list(METRICS)  # of one that no seed has there is no spread
    assert found.per_seed["own"] == (None, None)
    assert set(found.per_class) == {"iou", "boundary_iou"}
    ious = [iou_per_class(np.array(confusion)) for confusion in counts]
    assert found.iou_per_class == (*np.mean(ious, axis=0)[:2].tolist(), None)
    assert found.early_iterations == (60,)
    assert found.early_miou[0].mean == pytest.approx(0.3)
    assert (found.seeds, found.wall_s, found.peak_memory_gib, found.failure) == ((0, 1), 4.0, 2.0, None)


def test_a_set_of_which_no_pixel_was_scored_has_failed() -> None:
    row = row_of(record(0, [[0] * 3] * 3, {}), (), {"miou": metric_named("miou")})
    found = result_of([row])
    assert (found.scores, found.failure) == ({}, "not a single pixel of the test split was scored")


def test_each_student_has_its_sets_in_the_order_of_the_grid() -> None:
    row = row_of(record(0, [[8, 2, 0], [0, 10, 0], [0, 0, 0]], {}), (), {"miou": metric_named("miou")})
    grid = [(seed, student, name) for seed in (0, 1) for student in "ab" for name in ("random", "all")]
    rows = [replace(row, seed=seed, student=student, set_name=name) for seed, student, name in grid]
    found = [(result.student, result.name, result.seeds) for result in results_of(rows)[0]]
    assert found == [(student, name, (0, 1)) for student in "ab" for name in ("random", "all")]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("[miou, mious]", r"unknown metric 'mious': known are boundary_iou, .*Did you mean 'miou'"),
        ("[miou, fw_iou, fw_iou]", r"evaluate\.metrics names 'fw_iou' twice"),
        ("[fw_iou]", r"evaluate\.metrics lacks 'miou', by which sets are compared; add it"),
    ],
)
def test_wrong_metrics_are_a_sentence(asked: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_run("scenes", [f"evaluate.metrics={asked}"])


def test_metrics_are_todays_five_unless_others_are_asked_for(own: None) -> None:
    assert load_run("scenes").evaluate.metrics == tuple(METRICS)
    asked = load_run("scenes", ['evaluate.metrics=[miou, "own_scores:half_right"]']).evaluate.metrics
    assert asked == ("miou", "own_scores:half_right")
