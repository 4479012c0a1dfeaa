"""Losses by class and the filter on them, against a loop over pixels."""

import math

import pytest
import torch

from d3s2.base.train_ids import IGNORE
from d3s2.teacher.class_losses import LossSums, pixel_losses, without_doubtful

NUM_CLASSES, ABSENT = 6, 4


def scores_and_masks(seed: int, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(count, NUM_CLASSES, 7, 9, generator=generator) * 3
    masks = torch.randint(0, NUM_CLASSES, (count, 7, 9), generator=generator, dtype=torch.uint8)
    masks[masks == ABSENT] = IGNORE
    return scores, masks


def naive_loss(scores: torch.Tensor, train: int) -> float:
    values = [float(value) for value in scores]
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values)) - values[train]


def naive_losses(scores: torch.Tensor, masks: torch.Tensor) -> list[tuple[int, int, int, int, float]]:
    """(item, row, column, class, loss) of every scored pixel."""
    places = [(b, y, x, int(masks[b, y, x])) for b, y, x in torch.cartesian_prod(*map(torch.arange, masks.shape))]
    return [(b, y, x, c, naive_loss(scores[b, :, y, x], c)) for b, y, x, c in places if c != IGNORE]


def test_means_by_class_equal_a_loop_over_pixels_however_they_are_batched() -> None:
    scores, masks = scores_and_masks(0)
    sums = LossSums.empty(NUM_CLASSES)
    for start in (0, 2, 4):
        sums = sums.seen(scores[start : start + 2], masks[start : start + 2])
    found = sums.means()
    for c in range(NUM_CLASSES):
        losses = [loss for *_, train, loss in naive_losses(scores, masks) if train == c]
        if c == ABSENT:
            assert math.isnan(found[c])
        else:
            assert float(found[c]) == pytest.approx(sum(losses) / len(losses), rel=1e-6)


@pytest.mark.parametrize("tau", [0.5, 1.25, 3.0])
def test_the_filter_equals_a_loop_over_pixels(tau: float) -> None:
    scores, masks = scores_and_masks(1)
    means = LossSums.empty(NUM_CLASSES).seen(*scores_and_masks(2)).means()
    expected = masks.clone()
    for b, y, x, c, loss in naive_losses(scores, masks):
        if loss > tau * float(means[c]):
            expected[b, y, x] = IGNORE
    found = without_doubtful(masks, scores, means, tau)
    assert torch.equal(found, expected)
    assert (found == IGNORE).sum() > (masks == IGNORE).sum()


def test_a_class_without_a_real_pixel_loses_all_its_own_as_in_freemask() -> None:
    """FreeMask's mean loss of such a class is sum / (pixels + 1e-5) = 0, which every loss exceeds."""
    scores, masks = scores_and_masks(3)
    masks[:, :3] = ABSENT
    means = LossSums.empty(NUM_CLASSES).seen(*scores_and_masks(2)).means()
    found = without_doubtful(masks, scores, means, 1e6)
    assert (found[:, :3] == IGNORE).all()
    assert torch.equal(found[:, 3:], masks[:, 3:])


def test_ignored_pixels_cost_nothing_and_stay_ignored() -> None:
    scores, masks = scores_and_masks(4)
    assert (pixel_losses(scores, masks)[masks == IGNORE] == 0).all()
    found = without_doubtful(masks, scores, torch.full((NUM_CLASSES,), 1e9), 1.0)
    assert torch.equal(found, masks)
