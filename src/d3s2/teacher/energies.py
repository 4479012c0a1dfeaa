"""The two losses of the guidance, one number an item.

| name     | symbol      | meaning                                                                 |
|----------|-------------|-------------------------------------------------------------------------|
| l_seg    | L_seg       | cross entropy between the teacher's scores and the mask                   |
| l_feat   | L_feat      | distance of each class's feature statistics to those of the real data     |
| shares   | a[c, cell]  | share of a grid cell that class c covers                                  |
| mean     | mu[l, c]    | mean of layer l's features over the cells of class c, weighted by shares  |
| std      | sd[l, c]    | their standard deviation                                                  |

Source: the losses that D3S2 (arXiv 2605.25022) names; formulas as written here.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, UInt8
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
    pixel_loss = F.cross_entropy(scores, masks.long(), ignore_index=IGNORE, reduction="none")
    if not by_class:
        scored = (masks != IGNORE).sum(dim=(1, 2)).clamp(min=1)
        return pixel_loss.sum(dim=(1, 2)) / scored
    one_hot = class_shares(masks, scores.shape[1]).to(pixel_loss.dtype)
    pixels = one_hot.sum(dim=(2, 3))
    class_loss = torch.einsum("bhw,bchw->bc", pixel_loss, one_hot) / pixels.clamp(min=1)
    return class_loss.sum(dim=1) / (pixels > 0).sum(dim=1).clamp(min=1)


def feature_matching(
    features: Mapping[str, Tensor],
    masks: UInt8[Tensor, "b h w"],
    means: Mapping[str, Float[Tensor, "c d"]],
    deviations: Mapping[str, Float[Tensor, "c d"]],
) -> Float[Tensor, " b"]:
    """Mean over layers and classes of ((mu - mu_real)^2 + (sd - sd_real)^2) / sd_real^2.

    Args:
        features: layer -> activations of the teacher, only layers that are in the bank count.
        masks: train ids.
        means, deviations: layer -> statistics of the real data (the feature bank); NaN for a class not in it.

    Returns: at least 0; a class that no layer sees counts nowhere.
    """
    total = torch.zeros(len(masks), device=masks.device)
    counted = torch.zeros(len(masks), device=masks.device)
    for layer, real_mean in means.items():
        mean, deviation, cells = class_statistics(features[layer], masks, len(real_mean))
        known = ~torch.isnan(real_mean).any(dim=1)
        seen = (cells >= MIN_CELLS) & known
        real_std = torch.nan_to_num(deviations[layer], nan=1.0)
        scale = real_std.pow(2) + VARIANCE_FLOOR
        gap = (mean - torch.nan_to_num(real_mean)).pow(2) + (deviation - real_std).pow(2)
        distance = (gap / scale).mean(dim=2)
        total = total + torch.where(seen, distance, torch.zeros_like(distance)).sum(dim=1)
        counted = counted + seen.sum(dim=1)
    return total / counted.clamp(min=1)


def class_statistics(
    features: Float[Tensor, "b d h w"], masks: UInt8[Tensor, "b hh ww"], num_classes: int
) -> tuple[Float[Tensor, "b c d"], Float[Tensor, "b c d"], Float[Tensor, "b c"]]:
    """Mean and standard deviation of the features over the cells of each class, and how many cells that is.

    The mask is brought to the grid of the features by area. Classes that are not there give zeros.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    shares = F.adaptive_avg_pool2d(class_shares(masks, num_classes), (features.shape[-2], features.shape[-1])).to(
        features.dtype
    )
    cells = shares.sum(dim=(2, 3))
    weights = shares / cells.clamp(min=1e-6)[..., None, None]
    mean = torch.einsum("bchw,bdhw->bcd", weights, features)
    square = torch.einsum("bchw,bdhw->bcd", weights, features.pow(2))
    variance = (square - mean.pow(2)).clamp(min=0.0)
    return mean, (variance + VARIANCE_FLOOR).sqrt(), cells


def class_shares(masks: UInt8[Tensor, "b h w"], num_classes: int) -> Float[Tensor, "b c h w"]:
    """One-hot masks; ignored pixels belong to no class."""
    ids = torch.arange(num_classes, device=masks.device, dtype=torch.uint8)
    return (masks[:, None] == ids[:, None, None]).to(torch.float32)
