"""The most memory that tensors take at once, counted by following each from its making to its end.

What a library takes for itself while it works, as convolutions on a GPU do, is not seen.
"""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GIB = 2**30


class Living(TorchDispatchMode):
    """Follows the bytes of tensors that are made and live at once; what is read first was there before.

    Attributes:
        now: bytes that live now.
        peak: the most bytes so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before: list[Any] = []  # kept alive, so that no other storage gets one of their ids
        self.known: set[int] = set()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            if id(storage) not in self.known:
                self.known.add(id(storage))
                self.before.append(storage)
        output = func(*args, **(kwargs or {}))
        for storage in _storages(output):
            if id(storage) not in self.known:
                self._follow(storage)
        return output

    @property
    def all_gib(self) -> float:
        """GiB of what was there before and was read, and of the most that lived beside it."""
        return (sum(storage.nbytes() for storage in self.before) + self.peak) / GIB

    def _follow(self, storage: Any) -> None:
        self.known.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storages(tree: Any) -> Iterator[Any]:
    return (leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def weights_gib(*networks: nn.Module) -> float:
    """What weights and buffers take, in GiB."""
    tensors = (tensor for network in networks for tensor in (*network.parameters(), *network.buffers()))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / GIB


def peak_gib(call: Callable[[], object]) -> float:
    """The most GiB that a call takes beside the tensors that were there before it."""
    with Living() as living:
        call()
    return living.peak / GIB
