"""A device that is not the CPU, on a machine that has none: `meta` tensors have a device and a shape, and no numbers.

What reads a number of theirs, or brings them together with a tensor of the CPU, raises. So code that passes leaves a
GPU its work and never waits for it.
"""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = torch.device("meta")
READS = ("aten._local_scalar_dense", "aten.nonzero", "aten._unique2", "aten.masked_select")
"""Operations for whose result a GPU has to be waited for."""


class Watched(TorchDispatchMode):
    """Notes what is copied to ELSEWHERE, and what is made or worked on at the CPU.

    moved: tensors of the CPU that were copied there.
    stayed: names of operations that gave a tensor of the CPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[Tensor] = []
        self.stayed: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = operation(*args, **(kwargs or {}))
        if all(tensor.device == ELSEWHERE for tensor in tensors(given)):
            # numbers without a shape go with the operation, on a GPU too
            self.moved += [tensor for tensor in tensors((args, kwargs)) if tensor.device != ELSEWHERE and tensor.ndim]
        else:
            self.stayed.append(str(operation))
        return given


class Reading(TorchDispatchMode):
    """Counts the operations of READS."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(operation).startswith(READS)
        return operation(*args, **(kwargs or {}))


def landing_from(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType, number: int = 0) -> list[Tensor]:
    """What these modules ask back with `to_host`, which gives `number`, because there are none at ELSEWHERE."""
    landed: list[Tensor] = []

    def to_host(tensor: Tensor) -> Tensor:
        landed.append(tensor)
        return torch.full(tensor.shape, number, dtype=tensor.dtype)

    for module in modules:
        monkeypatch.setattr(module, "to_host", to_host)
    return landed


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
