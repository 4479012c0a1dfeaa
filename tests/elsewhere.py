"""A device that is not the CPU, on a machine that has none: `meta` tensors have a device and a shape, and no numbers.

What reads a number of theirs, or brings them together with a tensor of the CPU, raises. So code that passes leaves a
GPU its work and never waits for it.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = torch.device("meta")


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


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
