"""Values of pixels: bytes, floats in 0..1, colours."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.errors import NumericError

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""


def to_unit(images: UInt8[Tensor, "*b 3 h w"]) -> Tensor:
    """0..255 -> float32 in 0..1."""
    return images.to(torch.float32) / 255.0


def to_bytes(images: Tensor) -> Tensor:
    """Float in 0..1 -> 0..255, rounded; raises NumericError where a number is not finite, which would become black."""
    if not bool(torch.isfinite(images).all()):
        raise NumericError("Images hold numbers that are not finite, expected 0..1; they cannot be stored.")
    return finite_to_bytes(images)


def finite_to_bytes(images: Tensor) -> Tensor:
    """The same of numbers that are known to be finite: a device is not waited for."""
    return (images.to(torch.float32).clamp(0, 1) * 255.0).round().to(torch.uint8)
