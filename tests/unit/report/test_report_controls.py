"""Paired differences against scipy's t test, and the words that may be said of them."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from d3s2.results.controls.comparison import CONFIDENCE, compared, interval


@pytest.mark.parametrize("num_seeds", [2, 3, 10])
def test_the_interval_is_that_of_the_paired_t_test(num_seeds: int) -> None:
    rng = np.random.default_rng(num_seeds)
    ours, theirs = rng.uniform(0.4, 0.6, num_seeds), rng.uniform(0.3, 0.5, num_seeds)
    expected = ttest_rel(ours, theirs).confidence_interval(CONFIDENCE)
    found = compared("distilled", "random", "net", list(zip(ours.tolist(), theirs.tolist(), strict=True)))
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.difference == pytest.approx(np.mean(ours - theirs))
    assert found.ratio == pytest.approx(ours.mean() / theirs.mean())
    assert found.pairs == num_seeds


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "text"),
    [
        ((0.50, 0.51, 0.52), (0.40, 0.41, 0.43), "ahead", "+9.7 (8.2 to 11.1)"),
        ((0.40, 0.41, 0.43), (0.50, 0.51, 0.52), "behind", "-9.7 (-11.1 to -8.2)"),
        ((0.50, 0.41, 0.52), (0.40, 0.41, 0.43), "not told apart", "+6.3 (-7.3 to 20.0)"),
        ((0.50,), (0.10,), "not told apart", "+40.0"),
    ],
)
def test_ahead_is_said_only_where_the_interval_leaves_0_out(
    ours: tuple[float, ...], theirs: tuple[float, ...], verdict: str, text: str
) -> None:
    found = compared("distilled", "best-real", "net", list(zip(ours, theirs, strict=True)))
    assert found is not None
    assert (found.verdict, found.text) == (verdict, text)


def test_seeds_without_a_score_are_no_pairs() -> None:
    found = compared("a", "b", "net", [(0.5, None), (0.5, 0.4), (None, 0.2), (0.7, 0.4)])
    assert found is not None
    assert (found.pairs, found.difference) == (2, pytest.approx(0.2))
    assert compared("a", "b", "net", [(0.5, None)]) is None
    assert interval([0.1]) == (None, None)
    zero = compared("a", "b", "net", [(0.5, 0.0), (0.4, 0.0)])
    assert zero is not None
    assert zero.ratio is None
