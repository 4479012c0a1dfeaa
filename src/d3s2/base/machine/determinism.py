"""The same bytes from the same call: on a CPU whatever the number of threads, on a GPU from one time to the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from d3s2.base.machine.runtime import torch_threads

DETERMINISTIC: Any = torch.utils.deterministic


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Sums have one order within the block; torch's settings are as before after it.

    On a CPU torch uses one thread. On a GPU it uses deterministic algorithms where it has them and warns where it has
    none, as for the gradient of `grid_sample`; cuBLAS is deterministic where CUBLAS_WORKSPACE_CONFIG was set to
    ':4096:8' before its first use in the process, which `pick_device` sees to.
    """
    if device.type == "cpu":
        with torch_threads(1):
            yield
        return
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    fills, tries = DETERMINISTIC.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    DETERMINISTIC.fill_uninitialized_memory = False  # costs time, and finds faults of torch's users only
    torch.backends.cudnn.benchmark = False  # takes the algorithm that was fastest, which may be another one each time
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        DETERMINISTIC.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = tries
