"""Between the host and a device without waiting: a GPU works on what it was given while the next is prepared.

A plain copy to or from a GPU waits for all that was queued there before it; one through page-locked memory does not.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; a tensor that is there already is returned as it is."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_available():
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def to_host(tensor: Tensor) -> Tensor:
    """The tensor on the CPU; waits until its device has done all that was queued before it."""
    return tensor.cpu()


def number_later(value: Tensor) -> Callable[[], float]:
    """What returns the number `value`: called after more work was queued, it waits for none of that."""
    value = value.detach()
    if value.device.type != "cuda":
        return lambda: float(value)
    with torch.cuda.device(value.device):
        landing = value.to("cpu", non_blocking=True)
        landed = torch.cuda.Event()
        landed.record()

    def read() -> float:
        landed.synchronize()
        return float(landing)

    return read
