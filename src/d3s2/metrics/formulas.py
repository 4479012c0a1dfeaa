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

import numpy as np
from jaxtyping import Float64, Int64

from d3s2.metrics.metric import Counts, Metric

RULE = "classes of the truth"  # which count; part of the digests under which scores are kept


def iou_per_class(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, " c"]:
    """Intersection over union of each class in 0..1; NaN for a class that the truth does not hold."""
    hit, true = np.diag(confusion).astype(np.float64), confusion.sum(axis=1)
    union = confusion.sum(axis=0) + true - hit
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=true > 0)


def mean_iou(confusion: Int64[np.ndarray, "c c"], classes: Sequence[int] | None = None) -> float:
    """Mean IoU in 0..1 over those of `classes` (default all) that the truth holds; NaN where it holds none.

    Examples:
        >>> import numpy as np
        >>> from d3s2.metrics import mean_iou
        >>> round(mean_iou(np.array([[8, 2], [0, 10]])), 3)
        0.817
    """
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

    Examples:
        >>> import numpy as np
        >>> from d3s2.metrics import rarest_classes
        >>> rarest_classes(np.array([40, 0, 3, 12]))
        (2,)
    """
    present = np.flatnonzero(num_masks > 0)
    order = present[np.argsort(num_masks[present], kind="stable")]
    return tuple(sorted(int(index) for index in order[: max(1, round(len(present) / 3))]))


def _iou(counts: Counts) -> Float64[np.ndarray, " c"]:
    return iou_per_class(counts.confusion)


MIOU = Metric("mIoU", lambda counts: mean_iou(counts.confusion), {"iou": _iou})
TAIL_MIOU = Metric("tail mIoU", lambda counts: mean_iou(counts.confusion, counts.tail_classes), {"iou": _iou})
BOUNDARY_IOU = Metric(
    "boundary IoU",
    lambda counts: mean_boundary_iou(counts.boundary),
    {"boundary_iou": lambda counts: boundary_iou_per_class(counts.boundary)},
)
FW_IOU = Metric("frequency-weighted IoU", lambda counts: frequency_weighted_iou(counts.confusion))
PIXEL_ACCURACY = Metric("pixel accuracy", lambda counts: pixel_accuracy(counts.confusion))
