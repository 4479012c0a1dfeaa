"""Data-set-level scores from integer counts that add up over images, batches and processes.

| name           | symbol   | meaning                                                             |
|----------------|----------|---------------------------------------------------------------------|
| confusion      | n[t,p]   | pixels of true class t that were predicted as class p                 |
| iou            | IoU_c    | n[c,c] / (sum_p n[c,p] + sum_t n[t,c] - n[c,c])                       |
| pixel accuracy |          | sum_c n[c,c] / sum n                                                |
| fw iou         |          | sum_c (sum_p n[c,p] / sum n) IoU_c                                  |
| boundary       | G_d, P_d | pixels of a true or predicted class at most d px from its contour     |
| boundary iou   | BIoU_c   | sum of G_d and P_d in common / sum of G_d or P_d, over all images     |

The classes of the ground truth decide which count: a class that no scored pixel has in truth has no IoU (NaN) and
counts in no mean. Whoever predicts it all the same misses the class that is there, which costs that one's union alone.
"""

from collections.abc import Sequence
from math import hypot

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.train_ids import IGNORE

BOUNDARY_SHARE = 0.02  # of the image's diagonal
RULE = "classes of the truth"  # which count; part of the digests under which scores are kept
OUTSIDE = -1.0  # label of what lies beyond the picture: its edge is a contour


def confusion_matrix(
    predicted: UInt8[Tensor, "*b h w"], masks: UInt8[Tensor, "*b h w"], num_classes: int
) -> Int64[np.ndarray, "c c"]:
    """Counts of (true, predicted) over the pixels that are not 255 in `masks`."""
    scored = masks != IGNORE
    pairs = masks[scored].long() * num_classes + predicted[scored].long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).cpu().numpy()


def iou_per_class(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, " c"]:
    """Intersection over union of each class in 0..1; NaN for a class that the truth does not hold."""
    hit, true = np.diag(confusion).astype(np.float64), confusion.sum(axis=1)
    union = confusion.sum(axis=0) + true - hit
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=true > 0)


def mean_iou(confusion: Int64[np.ndarray, "c c"], classes: Sequence[int] | None = None) -> float:
    """Mean IoU in 0..1 over those of `classes` (default all) that the truth holds; NaN where it holds none."""
    iou = iou_per_class(confusion)
    return _mean(iou if classes is None else iou[list(classes)])


def pixel_accuracy(confusion: Int64[np.ndarray, "c c"]) -> float:
    """Share of scored pixels that were predicted right, 0..1; NaN where no pixel was scored."""
    total = confusion.sum()
    return float(np.diag(confusion).sum() / total) if total else float("nan")


def frequency_weighted_iou(confusion: Int64[np.ndarray, "c c"]) -> float:
    """IoU weighted by each class's share of the true pixels, 0..1; NaN where no pixel was scored."""
    total = confusion.sum()
    return float(np.nansum(confusion.sum(axis=1) / total * iou_per_class(confusion))) if total else float("nan")


def boundary_counts(
    predicted: UInt8[Tensor, "b h w"], masks: UInt8[Tensor, "b h w"], num_classes: int
) -> Int64[np.ndarray, "3 c"]:
    """For each class the boundary pixels that both sides share, those of the truth, those of the prediction.

    The edge of the picture is a contour, and so is that of an ignored area, on both sides.

    Source: arXiv 2103.16562, section 4, with d = 2 % of the diagonal; sums over images instead of a mean over objects.
    """
    predicted = torch.where(masks == IGNORE, masks, predicted)
    distance_px = max(1, round(BOUNDARY_SHARE * hypot(*masks.shape[-2:])))
    scored = masks != IGNORE
    true_edge, predicted_edge = (near_contour(side, distance_px) & scored for side in (masks, predicted))
    shared = true_edge & predicted_edge & (masks == predicted)
    sides = (masks[shared], masks[true_edge], predicted[predicted_edge])
    return np.stack([torch.bincount(side.long(), minlength=num_classes).cpu().numpy() for side in sides])


def near_contour(labels: UInt8[Tensor, "b h w"], distance_px: int) -> Bool[Tensor, "b h w"]:
    """Pixels with another label, or the edge of the picture, at most `distance_px` rows and columns away."""
    padded = F.pad(labels[:, None].float(), [distance_px] * 4, value=OUTSIDE)
    # one pass for all classes: a square holds its centre's label alone where its largest and its smallest are that one
    largest, smallest = _largest_around(padded, distance_px), -_largest_around(-padded, distance_px)
    return (largest != labels) | (smallest != labels)


def _largest_around(labels: Tensor, distance_px: int) -> Tensor:
    side = 2 * distance_px + 1
    rows = F.max_pool2d(labels, (side, 1), stride=1)
    return F.max_pool2d(rows, (1, side), stride=1)[:, 0]


def boundary_iou_per_class(counts: Int64[np.ndarray, "3 c"]) -> Float64[np.ndarray, " c"]:
    """Boundary IoU of each class in 0..1 from `boundary_counts`; NaN for a class that the truth does not hold."""
    shared, true, predicted = counts.astype(np.float64)
    union = true + predicted - shared
    return np.divide(shared, union, out=np.full_like(shared, np.nan), where=true > 0)


def mean_boundary_iou(counts: Int64[np.ndarray, "3 c"]) -> float:
    """Mean boundary IoU in 0..1 over the classes that the truth holds; NaN where it holds none."""
    return _mean(boundary_iou_per_class(counts))


def _mean(shares: Float64[np.ndarray, " k"]) -> float:
    counted = shares[~np.isnan(shares)]
    return float(counted.mean()) if counted.size else float("nan")


def rarest_classes(num_masks: Int64[np.ndarray, " c"]) -> tuple[int, ...]:
    """The rarest third of the classes that are in any mask, by the number of masks; ties by class id.

    Args:
        num_masks: how many masks of the full data set hold each class.
    """
    present = np.flatnonzero(num_masks > 0)
    order = present[np.argsort(num_masks[present], kind="stable")]
    return tuple(sorted(int(index) for index in order[: max(1, round(len(present) / 3))]))
