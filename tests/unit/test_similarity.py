"""Nearest neighbours, density, coverage, authenticity and Vendi score on sets whose answers are known."""

import numpy as np
import pytest
import torch

from d3s2.base.errors import UsageError
from d3s2.similarity import compare, spread_of, vendi_score

LINE = torch.tensor([[0.0], [1.0], [2.0], [4.0]])


def test_a_real_image_is_not_its_own_neighbour() -> None:
    spread = spread_of(LINE, num_neighbours=2)
    assert spread.nearest.tolist() == [1.0, 1.0, 1.0, 2.0]
    assert spread.radius.tolist() == [2.0, 1.0, 2.0, 3.0]


def test_density_and_coverage_on_a_line() -> None:
    likeness = compare(spread_of(LINE, num_neighbours=1), torch.tensor([[0.5], [9.0]]))
    # 0.5 lies in the balls of 0 and 1, 9 in none
    assert likeness.density == pytest.approx(2 / 2)
    assert likeness.coverage == pytest.approx(2 / 4)
    assert likeness.nearest.tolist() == [0, 3]
    assert likeness.distance.tolist() == [0.5, 5.0]
    assert likeness.ratio.tolist() == [0.5, 2.5]
    assert likeness.authenticity == 0.5


def test_copies_cover_everything_and_are_not_authentic() -> None:
    real = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 8))).float()
    likeness = compare(spread_of(real), real)
    assert likeness.coverage == 1.0
    assert likeness.density >= 1.0
    assert likeness.nearest.tolist() == list(range(60))
    assert likeness.ratio.max() == 0.0
    assert likeness.authenticity == 0.0


def test_images_of_another_world_have_neither_density_nor_coverage() -> None:
    real = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 8))).float()
    likeness = compare(spread_of(real), real + 100)
    assert (likeness.density, likeness.coverage, likeness.authenticity) == (0.0, 0.0, 1.0)


def test_blocks_equal_the_plain_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d3s2.similarity.BLOCK", 7)
    rng = np.random.default_rng(1)
    real, others, k = rng.normal(size=(50, 5)), rng.normal(size=(13, 5)), 3
    among = np.linalg.norm(real[:, None] - real[None], axis=2)
    radius = np.sort(among, axis=1)[:, k]
    across = np.linalg.norm(others[:, None] - real[None], axis=2)
    found = compare(spread_of(torch.from_numpy(real), k), torch.from_numpy(others))
    assert found.density == pytest.approx((across <= radius).sum() / (k * 13))
    assert found.coverage == pytest.approx((across <= radius).any(axis=0).mean())
    assert found.nearest.tolist() == across.argmin(axis=1).tolist()
    own = np.sort(among, axis=1)[:, 1][across.argmin(axis=1)]
    assert found.ratio.tolist() == pytest.approx((across.min(axis=1) / own).tolist())


def test_few_real_images_have_as_many_neighbours_as_there_are() -> None:
    assert spread_of(LINE).num_neighbours == 3
    with pytest.raises(UsageError, match=r"^Neighbours need at least two real images, got 1; give more of the data\.$"):
        spread_of(LINE[:1])


def test_two_equal_real_images_keep_ratios_finite() -> None:
    twins = torch.tensor([[0.0], [0.0], [3.0]])
    likeness = compare(spread_of(twins), torch.tensor([[0.0], [1.0]]))
    assert torch.isfinite(likeness.ratio).all()
    assert likeness.authenticity == 0.5


def test_the_vendi_score_counts_what_has_nothing_in_common() -> None:
    assert vendi_score(torch.ones(9, 4)) == pytest.approx(1.0)
    assert vendi_score(torch.eye(9)) == pytest.approx(9.0)
    assert vendi_score(torch.eye(3).repeat(5, 1)) == pytest.approx(3.0)
    assert vendi_score(7 * torch.eye(9)) == pytest.approx(9.0)
