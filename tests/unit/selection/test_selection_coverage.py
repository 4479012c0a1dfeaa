import numpy as np
import pytest
import scipy.sparse

from d3s2.base.errors import DataError, UsageError
from d3s2.data.census.counts import MaskCensus
from d3s2.selection.coverage import Coverage, classes_of, cover, levels_of, tie_order


def census_of(pixels: list[list[int]], mask_px: int = 100) -> MaskCensus:
    counted = scipy.sparse.csr_array(np.array(pixels, dtype=np.int32))
    names = tuple("abcdefgh"[: counted.shape[1]])
    ids = [f"m{row}" for row in range(counted.shape[0])]
    return MaskCensus(names, ids, counted, np.full(len(ids), mask_px, dtype=np.int32))


def covered(pixels: list[list[int]], kind: str, min_pixels: int = 1, mask_px: int = 100) -> np.ndarray:
    """v[i, c] as a dense array."""
    census = census_of(pixels, mask_px)
    coverage = cover(census, np.arange(len(census)), kind, min_pixels)
    dense = np.zeros((len(census), census.num_classes))
    for row in range(len(census)):
        dense[row, classes_of(coverage.row(row))] = levels_of(coverage.row(row)) / 32
    return dense


def test_presence_is_one_where_a_mask_holds_enough_pixels():
    dense = covered([[10, 0, 5], [4, 90, 0], [0, 0, 0]], "presence", min_pixels=5)
    assert dense.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_mass_is_the_share_against_the_mean_share_of_the_masks_that_hold_the_class():
    assert covered([[10, 0], [30, 8], [0, 0]], "mass").tolist() == [[0.5, 0], [1.5, 1], [0, 0]]


def test_mass_does_not_depend_on_the_size_of_the_masks():
    small = covered([[10, 4], [30, 8]], "mass", mask_px=100)
    large = covered([[40, 16], [120, 32]], "mass", mask_px=400)
    assert small.tolist() == large.tolist()


def test_mass_ends_at_255_levels_and_begins_at_one():
    dense = covered([[10_000], *[[1]] * 99], "mass", mask_px=10_000)
    assert dense[0, 0] == 255 / 32
    assert dense[1, 0] == 1 / 32


def test_mixed_is_one_at_the_usual_share_and_stays_between_a_half_and_three_halves():
    assert covered([[20], [20]], "mixed").tolist() == [[1], [1]]
    dense = covered([[10_000], *[[1]] * 999], "mixed", mask_px=10_000)
    assert dense[0, 0] == pytest.approx(1.5, abs=1 / 32)
    assert dense[1, 0] == pytest.approx(0.5, abs=3 / 32)


def test_an_unknown_coverage_names_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown coverage 'presense': known are .* Did you mean 'presence'\?"):
        covered([[1]], "presense")


@pytest.mark.parametrize("seed", range(5))
def test_sums_equal_a_loop_and_know_masks_without_a_class(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, 40)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    coverage = Coverage(rng.integers(0, 512, starts[-1]).astype(np.uint16), starts, 2)
    worth = rng.integers(0, 2**40, 512)
    expected = np.array([int(worth[coverage.row(row)].sum()) for row in range(40)])
    assert coverage.sums(worth).tolist() == expected.tolist()
    rows = rng.integers(0, 40, 60)
    assert coverage.sums(worth, rows).tolist() == expected[rows].tolist()
    assert coverage.subset(rows).sums(worth).tolist() == expected[rows].tolist()


def test_tie_order_follows_the_ids_and_the_seed_only():
    ids = [f"street/{number:04d}" for number in range(200)]
    order = [ids[i] for i in tie_order(ids, 0)]
    backwards = ids[::-1]
    assert [backwards[i] for i in tie_order(backwards, 0)] == order
    assert [ids[i] for i in tie_order(ids, 1)] != order
    assert sorted(order) == ids


def test_an_id_given_twice_is_refused():
    with pytest.raises(DataError, match="id 'a' is given to two masks"):
        tie_order(["a", "b", "a"], 0)
