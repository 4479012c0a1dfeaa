"""Numbers that are not finite are found before they are stored: as weights, or as a black image."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from d3s2.base.errors import NumericError


def require_finite_loss(loss: float, label: str, step: int, lr: float) -> None:
    """Raises NumericError where `loss` is NaN or infinite.

    Args:
        label: of the training, as its progress bar has it.
        step: from 1.
        lr: peak of the learning rate, which is nearly always why.
    """
    if not math.isfinite(loss):
        raise NumericError(
            f"{label}: the loss of step {step} is {loss}, expected a finite number; lower the learning rate (lr is "
            f"{lr:g}) and repeat the call."
        )


def not_finite(x: Float[Tensor, "b c h w"]) -> Bool[Tensor, " b"]:
    """Which items of a batch hold a number that is NaN or infinite."""
    return ~torch.isfinite(x).all(dim=(1, 2, 3))
