"""Scores against torchmetrics and a naive count."""

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from d3s2.metrics.counting import boundary_counts, confusion_matrix, near_contour
from d3s2.metrics.formulas import (
    boundary_iou_per_class,
    frequency_weighted_iou,
    iou_per_class,
    mean_boundary_iou,
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


def test_weighted_iou_and_pixel_accuracy_equal_torchmetrics() -> None:
    predicted, masks = draw()
    confusion = confusion_matrix(predicted, masks, 5)
    options = {"num_classes": 5, "ignore_index": 255}
    weighted = MulticlassJaccardIndex(average="weighted", **options)(predicted.long(), masks.long())
    accuracy = MulticlassAccuracy(average="micro", **options)(predicted.long(), masks.long())
    assert frequency_weighted_iou(confusion) == pytest.approx(float(weighted), rel=1e-6)
    assert pixel_accuracy(confusion) == pytest.approx(float(accuracy), rel=1e-6)


def test_iou_equals_the_definition_of_ade20k() -> None:
    # areas by histogram over the scored pixels of all images, as the benchmark's own evaluation counts them
    predicted, masks = draw()
    scored = (masks != 255).numpy()
    p, t = predicted.numpy()[scored], masks.numpy()[scored]
    hit, ours, theirs = (np.bincount(labels, minlength=5) for labels in (p[p == t], p, t))
    confusion = confusion_matrix(predicted, masks, 5)
    np.testing.assert_allclose(iou_per_class(confusion), hit / (ours + theirs - hit))
    assert mean_iou(confusion) == pytest.approx((hit / (ours + theirs - hit)).mean())


def blobs(seed: int, ignored: bool = False) -> torch.Tensor:
    """Two masks of large areas, so that a class has an inside."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 4, (2, 4, 5), generator=generator, dtype=torch.uint8)
    fine = coarse.repeat_interleave(13, dim=1).repeat_interleave(15, dim=2)
    if ignored:
        fine[0, 10:30, 20:40] = 255
    return fine


def naive_boundary(mask: np.ndarray, label: int, distance_px: int) -> np.ndarray:
    here = mask == label
    inside = binary_erosion(here, np.ones((3, 3)), iterations=distance_px, border_value=0)
    return here & ~inside


def test_boundary_iou_equals_erosion_class_by_class() -> None:
    masks, predicted = blobs(1, ignored=True), blobs(2)
    distance_px = round(0.02 * (52**2 + 75**2) ** 0.5)
    assert distance_px == 2
    expected = np.zeros((3, 5), dtype=np.int64)
    for mask, guess in zip(masks.numpy(), predicted.numpy(), strict=True):
        seen = np.where(mask == 255, 255, guess)
        for label in range(5):
            ours, theirs = naive_boundary(mask, label, distance_px), naive_boundary(seen, label, distance_px)
            expected[:, label] += np.array([(ours & theirs).sum(), ours.sum(), theirs.sum()])
    counts = boundary_counts(predicted, masks, 5)
    assert (counts == expected).all()
    iou = boundary_iou_per_class(counts)
    assert np.isnan(iou[4])
    shared, true, guessed = expected[:, :4]
    assert mean_boundary_iou(counts) == pytest.approx((shared / (true + guessed - shared)).mean())


def test_what_is_predicted_under_ignored_pixels_changes_no_score() -> None:
    masks, predicted = blobs(1, ignored=True), blobs(2)
    other = torch.where(masks == 255, (predicted + 1) % 4, predicted)
    assert (boundary_counts(predicted, masks, 4) == boundary_counts(other, masks, 4)).all()
    assert (confusion_matrix(predicted, masks, 4) == confusion_matrix(other, masks, 4)).all()


def test_a_perfect_prediction_has_a_boundary_iou_of_one_and_counts_add_up() -> None:
    masks = blobs(1, ignored=True)
    assert mean_boundary_iou(boundary_counts(masks, masks, 4)) == 1.0
    apart = [boundary_counts(blobs(2)[[index]], masks[[index]], 4) for index in range(2)]
    assert (sum(apart) == boundary_counts(blobs(2), masks, 4)).all()


def test_the_edge_of_the_picture_is_a_contour() -> None:
    found = near_contour(torch.zeros(1, 7, 9, dtype=torch.uint8), 2)
    assert not found[0, 2:5, 2:7].any()
    assert found.sum() == 7 * 9 - 3 * 5


def test_nothing_scored_has_no_score() -> None:
    nothing = np.zeros((3, 3), dtype=np.int64)
    assert all(np.isnan(score(nothing)) for score in (mean_iou, pixel_accuracy, frequency_weighted_iou))
    assert np.isnan(mean_boundary_iou(nothing))


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


def test_a_stray_prediction_of_a_class_that_no_mask_holds_changes_no_denominator() -> None:
    # class 2 is in no mask: whoever predicts it once loses that pixel, and no third class is counted
    clean = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]], dtype=np.int64)
    stray = np.array([[8, 1, 1], [0, 10, 0], [0, 0, 0]], dtype=np.int64)
    assert np.isnan(iou_per_class(stray)).tolist() == [False, False, True]
    assert mean_iou(stray) == pytest.approx((8 / 10 + 10 / 11) / 2)
    assert mean_iou(stray) >= mean_iou(clean)
    assert np.isnan(mean_iou(stray, [2]))
    assert mean_iou(stray, [1, 2]) == pytest.approx(10 / 11)
    assert frequency_weighted_iou(stray) == pytest.approx(0.5 * 8 / 10 + 0.5 * 10 / 11)


def test_a_stray_prediction_changes_no_denominator_of_the_boundary_either() -> None:
    masks = blobs(1)
    predicted = masks.clone()
    predicted[0, 20:24, 20:24] = 4
    counts = boundary_counts(predicted, masks, 5)
    assert counts[2, 4] > 0
    assert np.isnan(boundary_iou_per_class(counts)[4])
    assert mean_boundary_iou(counts) == pytest.approx(boundary_iou_per_class(counts)[:4].mean())
    assert mean_boundary_iou(counts) > 0.9


def test_the_tail_is_the_rarest_third_of_the_classes_that_are_there() -> None:
    assert rarest_classes(np.array([50, 0, 3, 40, 2, 2, 30])) == (4, 5)
