"""Data-set-level scores from one integer confusion matrix.

| name      | symbol | meaning                                                |
|-----------|--------|--------------------------------------------------------|
| confusion | n[t,p] | pixels of true class t that were predicted as class p    |
| iou       | IoU_c  | n[c,c] / (sum_p n[c,p] + sum_t n[t,c] - n[c,c])          |

A class that is neither in the truth nor predicted has no IoU (NaN) and does not count in any mean.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from d3s2.base.train_ids import IGNORE


def confusion_matrix(
    predicted: UInt8[Tensor, "*b h w"], masks: UInt8[Tensor, "*b h w"], num_classes: int
) -> Int64[np.ndarray, "c c"]:
    """Counts of (true, predicted) over the pixels that are not 255 in `masks`."""
    scored = masks != IGNORE
    pairs = masks[scored].long() * num_classes + predicted[scored].long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes).cpu().numpy()


def iou_per_class(confusion: Int64[np.ndarray, "c c"]) -> Float64[np.ndarray, " c"]:
    """Intersection over union of each class in 0..1; NaN for a class on neither side."""
    hit = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    return np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)


def mean_iou(confusion: Int64[np.ndarray, "c c"], classes: Sequence[int] | None = None) -> float:
    """Mean IoU in 0..1 over `classes` (default all) that have one; NaN where none has."""
    iou = iou_per_class(confusion)
    chosen = iou if classes is None else iou[list(classes)]
    counted = chosen[~np.isnan(chosen)]
    return float(counted.mean()) if counted.size else float("nan")


def pixel_accuracy(confusion: Int64[np.ndarray, "c c"]) -> float:
    """Share of scored pixels that were predicted right, 0..1; NaN where no pixel was scored."""
    total = confusion.sum()
    return float(np.diag(confusion).sum() / total) if total else float("nan")


def frequency_weighted_iou(confusion: Int64[np.ndarray, "c c"]) -> float:
    """IoU weighted by each class's share of the true pixels, 0..1."""
    share = confusion.sum(axis=1) / max(confusion.sum(), 1)
    return float(np.nansum(share * iou_per_class(confusion)))


def rarest_classes(num_masks: Int64[np.ndarray, " c"]) -> tuple[int, ...]:
    """The rarest third of the classes that are in any mask, by the number of masks; ties by class id.

    Args:
        num_masks: how many masks of the full data set hold each class.
    """
    present = np.flatnonzero(num_masks > 0)
    order = present[np.argsort(num_masks[present], kind="stable")]
    return tuple(sorted(int(index) for index in order[: max(1, round(len(present) / 3))]))
