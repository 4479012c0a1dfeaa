"""Counts of pixels, one batch of images at a time: integers that add up over images, batches and processes."""

from math import hypot

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_host
from d3s2.base.train_ids import IGNORE

BOUNDARY_SHARE = 0.02  # of the image's diagonal
OUTSIDE = -1.0  # label of what lies beyond the picture: its edge is a contour


def confusion_matrix(
    predicted: UInt8[Tensor, "*b h w"], masks: UInt8[Tensor, "*b h w"], num_classes: int
) -> Int64[np.ndarray, "c c"]:
    """Counts of (true, predicted) over the pixels that are not 255 in `masks`.

    Examples:
        >>> import torch
        >>> from d3s2.metrics import confusion_matrix
        >>> mask = torch.tensor([[0, 1], [1, 255]], dtype=torch.uint8)
        >>> confusion_matrix(torch.tensor([[0, 1], [0, 0]], dtype=torch.uint8), mask, 2).tolist()
        [[1, 0], [1, 1]]
    """
    pairs = masks.long() * num_classes + predicted.long()
    return _counted(pairs, masks != IGNORE, num_classes**2).reshape(num_classes, num_classes)


def boundary_counts(
    predicted: UInt8[Tensor, "b h w"], masks: UInt8[Tensor, "b h w"], num_classes: int
) -> Int64[np.ndarray, "3 c"]:
    """For each class the boundary pixels that both sides share, those of the truth, those of the prediction.

    The edge of the picture is a contour, and so is that of an ignored area, on both sides.

    Source: arXiv 2103.16562, section 4, with d = 2 % of the diagonal; sums over images instead of a mean over objects.

    Examples:
        >>> import torch
        >>> from d3s2.metrics import boundary_counts
        >>> mask = torch.tensor([[[0, 0, 1, 1]] * 3], dtype=torch.uint8)
        >>> boundary_counts(mask, mask, 2).tolist()
        [[6, 6], [6, 6], [6, 6]]
    """
    predicted = torch.where(masks == IGNORE, masks, predicted)
    distance_px = max(1, round(BOUNDARY_SHARE * hypot(*masks.shape[-2:])))
    scored = masks != IGNORE
    true_edge, predicted_edge = (near_contour(side, distance_px) & scored for side in (masks, predicted))
    shared = true_edge & predicted_edge & (masks == predicted)
    sides = ((masks, shared), (masks, true_edge), (predicted, predicted_edge))
    return np.stack([_counted(labels.long(), where, num_classes) for labels, where in sides])


def _counted(values: Int64[Tensor, "*b h w"], where: Bool[Tensor, "*b h w"], count: int) -> Int64[np.ndarray, " count"]:
    """How often each of 0..`count` - 1 is there, over the pixels of `where`."""
    # picking pixels out, and torch.bincount, would each wait for a GPU; on a CPU this takes a third of their time
    bins = torch.where(where, values, count).flatten()
    counts = bins.new_zeros(count + 1).scatter_add_(0, bins, torch.ones_like(bins))
    return to_host(counts[:-1]).numpy()


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
