"""Bilinear resizing whose gradient is the same each time, and fast, on a GPU too.

Where deterministic algorithms are asked for, torch writes `F.interpolate` on a GPU as a gather, and sorts every pixel
that it added up to in the gradient. Resizing is linear along each side, so two products with small matrices do it.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resized(images: Float[Tensor, "b c h w"], size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """What `F.interpolate(mode="bilinear", align_corners=False)` gives, to rounding.

    Args:
        size: (height, width) of what is returned.
        antialias: as for `F.interpolate`.
    """
    if tuple(images.shape[-2:]) == size:
        return images
    if images.is_cuda and torch.are_deterministic_algorithms_enabled():
        return by_matrices(images, size, antialias=antialias)
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)


def by_matrices(images: Float[Tensor, "b c h w"], size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    """`resized` as products with a matrix for each side."""
    down, across = (
        _matrix(before, after, antialias, images.dtype, images.device)
        for before, after in zip(images.shape[-2:], size, strict=True)
    )
    return down.T @ (images @ across)


@lru_cache(maxsize=64)
def _matrix(
    before: int, after: int, antialias: bool, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "before after"]:
    """How much each of `before` pixels counts in each of `after`: torch's own weights, from one pixel at a time.

    Kept on its device: a copy from the host at each step would be waited for.
    """
    each = torch.eye(before, dtype=torch.promote_types(dtype, torch.float32))[None, None]
    weights = F.interpolate(each, size=(before, after), mode="bilinear", align_corners=False, antialias=antialias)
    return weights[0, 0].to(device, dtype)
