"""Scores against torchmetrics and a naive count."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from d3s2.metrics import (
    confusion_matrix,
    frequency_weighted_iou,
    iou_per_class,
    mean_iou,
    pixel_accuracy,
    rarest_classes,
)


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 5, (4, 20, 30), generator=generator, dtype=torch.uint8)
    predicted = torch.where(torch.rand(masks.shape, generator=generator) < 0.6, masks, (masks + 1) % 5)
    masks[:, :3] = 255
    return predicted, masks


def test_iou_equals_torchmetrics() -> None:
    predicted, masks = draw()
    theirs = MulticlassJaccardIndex(num_classes=5, average=None, ignore_index=255)(predicted.long(), masks.long())
    ours = iou_per_class(confusion_matrix(predicted, masks, 5))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)


def test_confusion_equals_a_naive_count() -> None:
    predicted, masks = draw()
    expected = np.zeros((5, 5), dtype=np.int64)
    for p, t in zip(predicted.flatten().tolist(), masks.flatten().tolist(), strict=True):
        if t != 255:
            expected[t, p] += 1
    assert (confusion_matrix(predicted, masks, 5) == expected).all()


def test_a_class_on_neither_side_counts_in_no_mean() -> None:
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]], dtype=np.int64)
    assert np.isnan(iou_per_class(confusion)[2])
    assert mean_iou(confusion) == pytest.approx((8 / 10 + 10 / 12) / 2)
    assert np.isnan(mean_iou(confusion, [2]))
    assert pixel_accuracy(confusion) == pytest.approx(18 / 20)
    assert frequency_weighted_iou(confusion) == pytest.approx(0.5 * 8 / 10 + 0.5 * 10 / 12)


def test_the_tail_is_the_rarest_third_of_the_classes_that_are_there() -> None:
    assert rarest_classes(np.array([50, 0, 3, 40, 2, 2, 30])) == (4, 5)
