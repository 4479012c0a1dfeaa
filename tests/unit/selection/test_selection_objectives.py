import numpy as np
import pytest

from d3s2.selection.objectives import MAX_WEIGHT, ONE, QUOTA, LogCoverage, Tally


def code(class_id: int, level: int) -> int:
    return 256 * class_id + level


def tally_of(weights: list[float], quotas: list[int] | None = None) -> Tally:
    return Tally(LogCoverage(np.array(weights), np.array(quotas or [0] * len(weights))))


def test_worth_is_the_weighted_log_of_the_formula():
    tally = tally_of([1.0, 3.0])
    assert tally.worth[code(1, 32)] / ONE == pytest.approx(3 * np.log(2), abs=1e-9)
    tally.take(np.array([code(1, 32)], dtype=np.uint16))
    assert tally.worth[code(1, 48)] / ONE == pytest.approx(3 * np.log(3.5 / 2), abs=1e-9)
    assert tally.worth[code(0, 32)] / ONE == pytest.approx(np.log(2), abs=1e-9)


def test_gains_add_up_to_the_value_of_the_set():
    rng = np.random.default_rng(0)
    tally = tally_of([0.5, 1.0, 2.0])
    total = 0
    for _ in range(50):
        classes = np.flatnonzero(rng.random(3) < 0.5)
        codes = (256 * classes + rng.integers(1, 256, len(classes))).astype(np.uint16)
        total += int(tally.gains(codes).sum())
        tally.take(codes)
    assert total / ONE == pytest.approx(tally.objective.value(tally.covered), abs=1e-6)


def test_worth_never_grows_and_never_falls_with_the_level():
    tally = tally_of([1.0])
    for _ in range(300):
        before = tally.worth.copy()
        tally.take(np.array([code(0, 7)], dtype=np.uint16))
        assert (tally.worth <= before).all()
        assert (np.diff(tally.worth) >= 0).all()


def test_a_quota_outweighs_all_classes_together_until_it_is_met():
    num_classes = 255
    heaviest = Tally(LogCoverage(np.full(num_classes, MAX_WEIGHT), np.zeros(num_classes, dtype=np.int64)))
    everything = (256 * np.arange(num_classes) + 255).astype(np.uint16)
    assert int(heaviest.worth[everything].sum()) < QUOTA
    owing = Tally(LogCoverage(np.full(num_classes, MAX_WEIGHT), np.ones(num_classes, dtype=np.int64)))
    assert sum(map(int, owing.worth[everything])) < 2**63
    assert owing.gains(everything).tolist() == heaviest.gains(everything).tolist()
    owing.take(everything[:1])
    assert owing.worth[code(0, 255)] < QUOTA <= owing.worth[code(1, 1)]
