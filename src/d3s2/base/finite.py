"""A loss that is not finite ends a training at once, before it is stored as weights."""

import math

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
