"""The losses of the guidance, one number an item.

| name     | symbol      | meaning                                                                 |
|----------|-------------|-------------------------------------------------------------------------|
| l_seg    | L_seg       | cross entropy between the teacher's scores and the mask                   |
| l_feat   | L_feat      | distance of each class's feature statistics to those of the real data     |
| shares   | a[c, cell]  | share of a grid cell that class c covers                                  |
| mean     | mu[l, c]    | mean of layer l's features over the cells of class c, weighted by shares  |
| std      | sd[l, c]    | their standard deviation, sqrt(variance + VARIANCE_FLOOR), as the real ones   |

Source: the losses that D3S2 (arXiv 2605.25022) names; formulas as written here.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.train_ids import IGNORE

MIN_CELLS = 1.0  # a class that covers less than one cell of a layer's grid is not seen there
VARIANCE_FLOOR = 1e-6


def segmentation_consistency(
    scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"], *, by_class: bool = True
) -> Float[Tensor, " b"]:
    """Cross entropy between scores and mask, 255 ignored.

    Args:
        scores: of the teacher.
        masks: train ids.
        by_class: mean over the classes present of the mean over their pixels, so that a lamp counts as much as the
            sky; otherwise the plain mean over pixels.

    Returns: nats, at least 0; 0 for a mask without a scored pixel.
    """
    ids = masks.long()
    pixel_loss = F.cross_entropy(scores, ids, ignore_index=IGNORE, reduction="none")
    if not by_class:
        scored = (masks != IGNORE).sum(dim=(1, 2)).clamp(min=1)
        return pixel_loss.sum(dim=(1, 2)) / scored
    return (pixel_loss * _balanced_weights(ids).to(pixel_loss.dtype)).sum(dim=(1, 2))


def _balanced_weights(ids: Int64[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Of each pixel 1 / (pixels of its class x classes present), which makes a sum the mean over classes of means."""
    flat = ids.flatten(1)
    # torch.bincount asks a GPU for the largest value first, and waits for it at every gradient
    pixels = ids.new_zeros(len(ids), IGNORE + 1).scatter_add_(1, flat, torch.ones_like(flat))
    pixels[:, IGNORE] = 0
    present = (pixels > 0).sum(dim=1, keepdim=True)
    weights = 1.0 / (pixels * present)
    return torch.where(pixels > 0, weights, 0.0).gather(1, flat).reshape(ids.shape)


def feature_matching(
    features: Mapping[str, Tensor],
    masks: UInt8[Tensor, "b h w"],
    means: Mapping[str, Float[Tensor, "c d"]],
    deviations: Mapping[str, Float[Tensor, "c d"]],
) -> Float[Tensor, " b"]:
    """Mean over layers and classes of ((mu - mu_real)^2 + (sd - sd_real)^2) / sd_real^2; 0 for a batch of its own.

    Args:
        features: layer -> activations of the teacher, only layers that are in the bank count.
        masks: train ids.
        means, deviations: layer -> statistics of the real data (the feature bank); NaN for a class not in it.

    Returns: at least 0; a class that no layer sees counts nowhere.
    """
    classes = classes_in(masks)
    shares = class_shares(masks, classes)
    total = torch.zeros(len(masks), device=masks.device)
    counted = torch.zeros(len(masks), device=masks.device)
    for layer in means:
        real_mean, real_std = means[layer][classes], deviations[layer][classes]
        mean, deviation, cells = class_statistics(features[layer], shares)
        known = ~torch.isnan(real_mean).any(dim=1)
        seen = (cells >= MIN_CELLS) & known
        real_variance = torch.nan_to_num(real_std, nan=1.0).pow(2) + VARIANCE_FLOOR
        gap = (mean - torch.nan_to_num(real_mean)).pow(2) + (deviation - real_variance.sqrt()).pow(2)
        distance = (gap / real_variance).mean(dim=2)
        total = total + torch.where(seen, distance, torch.zeros_like(distance)).sum(dim=1)
        counted = counted + seen.sum(dim=1)
    return total / counted.clamp(min=1)


def class_statistics(
    features: Float[Tensor, "b d h w"], shares: Float[Tensor, "b c hh ww"]
) -> tuple[Float[Tensor, "b c d"], Float[Tensor, "b c d"], Float[Tensor, "b c"]]:
    """Mean and standard deviation of the features over the cells of each class, and how many cells that is.

    The classes' shares (`class_shares`) are brought to the grid of the features by area. Classes that are not there
    give zeros. Variances are means of squares less squares of means: in float64, where features whose mean is large
    against their deviation, as the activations of a transformer are, lose nothing, and where two products do for all
    classes what a loop over them does slowly on a GPU.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    shares = F.adaptive_avg_pool2d(shares, (features.shape[-2], features.shape[-1])).double()
    cells, values = shares.sum(dim=(2, 3)), features.double()
    weights = shares / cells.clamp(min=1e-6)[..., None, None]
    mean = torch.einsum("bchw,bdhw->bcd", weights, values)
    variance = torch.einsum("bchw,bdhw->bcd", weights, values.square()) - mean.square()
    return mean.to(dtype), (variance.clamp(min=0) + VARIANCE_FLOOR).sqrt().to(dtype), cells.to(dtype)


def classes_in(masks: UInt8[Tensor, "b h w"]) -> Int64[Tensor, " c"]:
    """The classes that any of the masks holds, in rising order; all others cost nothing."""
    found = masks.unique()
    return found[found != IGNORE].long()


def class_shares(masks: UInt8[Tensor, "b h w"], classes: Int64[Tensor, " c"]) -> Float[Tensor, "b c h w"]:
    """1 where a pixel is of the class, else 0; ignored pixels belong to no class."""
    return (masks[:, None] == classes.to(torch.uint8)[:, None, None]).to(torch.float32)
