"""Soft labels keep a teacher's opinion within the stated bound, in the stated bytes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from d3s2.base.errors import StoreError, UsageError
from d3s2.recipes import load_run
from d3s2.store.soft import SoftLabels, cell_px_for, soften
from d3s2.store.soft.labels import ERROR_BOUND, soft_bytes, soft_from_bytes


def softmax(seed: int, shape: tuple[int, int, int], heat: float) -> Tensor:
    scores = np.random.default_rng(seed).normal(0, heat, shape).astype(np.float32)
    return torch.from_numpy(scores).softmax(dim=0)


@given(
    seed=st.integers(0, 10**6),
    num_classes=st.integers(1, 40),
    num_top=st.integers(1, 8),
    cell_px=st.integers(1, 5),
    heat=st.floats(0, 30),
)
def test_errors_stay_within_the_bound(seed: int, num_classes: int, num_top: int, cell_px: int, heat: float) -> None:
    height, width = 7, 9
    probabilities = softmax(seed, (num_classes, height, width), heat)
    soft = soften(probabilities, num_top, cell_px)
    decoded = soft.probabilities()
    mean = naive_means(probabilities.numpy(), cell_px)
    assert decoded.shape == mean.shape
    np.testing.assert_allclose(decoded.sum(axis=0), 1, atol=1e-5)
    kept = np.zeros(mean.shape, dtype=bool)
    np.put_along_axis(kept, soft.classes.astype(int), True, axis=0)
    error = np.abs(decoded - mean)
    assert error[kept].max() < ERROR_BOUND + 1e-6
    rest = np.where(kept, 0, mean).sum(axis=0)
    assert (np.where(kept, 0, error) <= np.maximum(rest, ERROR_BOUND) + 1e-6).all()
    least_kept = np.where(kept, mean, 1).min(axis=0)
    assert (np.where(kept, 0, mean) <= least_kept + 1e-6).all()


def naive_means(probabilities: np.ndarray, cell_px: int) -> np.ndarray:
    _, height, width = probabilities.shape
    rows = [
        [
            probabilities[:, y : y + cell_px, x : x + cell_px].mean(axis=(1, 2), dtype=np.float64)
            for x in range(0, width, cell_px)
        ]
        for y in range(0, height, cell_px)
    ]
    return np.array(rows).transpose(2, 0, 1)


def test_a_cell_takes_two_bytes_a_class() -> None:
    content = soft_bytes(soften(softmax(0, (20, 64, 96), 3), num_top=4, cell_px=8))
    assert 0 < len(content) - 2 * 4 * 8 * 12 < 300


def test_the_bytes_are_the_same_and_read_back() -> None:
    soft = soften(softmax(3, (18, 20, 30), 2), cell_px=8)
    content = soft_bytes(soft)
    assert all(soft_bytes(soften(softmax(3, (18, 20, 30), 2), cell_px=8)) == content for _ in range(20))
    again = soft_from_bytes(content, "x")
    assert (again.num_classes, again.cell_px) == (18, 8)
    assert (again.classes == soft.classes).all()
    assert (again.weights == soft.weights).all()


def test_equal_classes_are_kept_in_order_of_id() -> None:
    soft = soften(torch.full((6, 4, 4), 1 / 6), num_top=3, cell_px=4)
    assert soft.classes.ravel().tolist() == [0, 1, 2]
    assert np.ptp(soft.probabilities()) < ERROR_BOUND


def test_what_is_no_distribution_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^Soft labels: the probabilities are not finite or sum to zero in a cell"):
        soften(torch.zeros(3, 4, 4))
    with pytest.raises(UsageError, match=r"^Soft labels: got 3 classes, num_top 0 and cell_px 8"):
        soften(torch.ones(3, 4, 4), num_top=0, cell_px=8)


def test_damaged_files_are_named() -> None:
    soft = soften(softmax(0, (5, 8, 8), 1), 2, 4)
    with pytest.raises(StoreError, match=r"^a.safetensors: cannot be read as soft labels"):
        soft_from_bytes(soft_bytes(soft)[:-1], "a.safetensors")
    with pytest.raises(StoreError, match=r"^a.safetensors: names a class outside 0..2"):
        soft_from_bytes(soft_bytes(SoftLabels(soft.classes, soft.weights, 3, 4)), "a.safetensors")
    heavy = SoftLabels(soft.classes, np.full_like(soft.weights, 200), 5, 4)
    with pytest.raises(StoreError, match=r"^a.safetensors: holds a cell whose probabilities sum to more than one"):
        soft_from_bytes(soft_bytes(heavy), "a.safetensors")


@pytest.mark.parametrize(
    ("size_px", "cell_px"),
    [((64, 96), 1), ((24, 32), 1), ((128, 160), 2), ((192, 128), 2), ((512, 512), 8), ((512, 1024), 8)],
)
def test_cells_that_nobody_chose_suit_the_picture(size_px: tuple[int, int], cell_px: int) -> None:
    assert cell_px_for(size_px) == cell_px
    height, width = size_px
    soft = soften(torch.full((2, height, width), 0.5))
    assert (soft.cell_px, soft.classes.shape) == (cell_px, (2, -(-height // cell_px), -(-width // cell_px)))


def test_a_recipe_that_asks_for_soft_labels_takes_cells_that_suit_its_size() -> None:
    asked = load_run("scenes", ["synthesize.soft={}"]).synthesize.soft
    assert asked is not None
    assert asked.cell_px is None
    small = softmax(0, (18, 64, 96), heat=3)
    assert soften(small, asked.num_top, asked.cell_px).classes.shape == (asked.num_top, 64, 96)
