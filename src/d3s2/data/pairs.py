"""Pairs as tensors: held in memory, or read from files when they are needed; who uses them cannot tell which."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.errors import NumericError
from d3s2.base.progress import SILENT, Progress, track
from d3s2.data.dataset import SegmentationDataset, read_pair

READ_THREADS = 4
READ_AHEAD = 4  # batches that are being read while one is worked on
BYTES_A_PIXEL = 4  # an RGB image and its mask
T = TypeVar("T")


@runtime_checkable
class PairSource(Protocol):
    """Pairs of one size in a fixed order, taken by position."""

    def __len__(self) -> int:
        """How many there are."""

    def take(self, positions: Sequence[int]) -> "Pairs":
        """The pairs at `positions`, in that order, a position as often as it is there."""

    def take_masks(self, positions: Sequence[int]) -> UInt8[Tensor, "n h w"]:
        """The masks at `positions` alone."""

    def batches(self, draws: Iterable[Sequence[int]]) -> Iterator["Pairs"]:
        """The pairs of each draw, in the order of draws; draws are asked for ahead of what is yielded."""


@dataclass(frozen=True)
class Pairs:
    """Images and masks of one size in memory.

    Args:
        images: RGB, 0..255.
        masks: train ids, 255 ignored.
    """

    images: UInt8[Tensor, "n 3 h w"]
    masks: UInt8[Tensor, "n h w"]

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of every pair."""
        return self.masks.shape[-2], self.masks.shape[-1]

    def take(self, positions: Sequence[int]) -> "Pairs":
        chosen = torch.tensor([*positions], dtype=torch.long)
        return Pairs(self.images[chosen], self.masks[chosen])

    def take_masks(self, positions: Sequence[int]) -> UInt8[Tensor, "n h w"]:
        return self.masks[torch.tensor([*positions], dtype=torch.long)]

    def batches(self, draws: Iterable[Sequence[int]]) -> Iterator["Pairs"]:
        return map(self.take, draws)


@dataclass(frozen=True)
class FilePairs:
    """Pairs that are read each time they are taken; what is read depends on no thread.

    Args:
        dataset: at one size.
        ids: the pairs, in the order of positions.
        threads: how many read side by side.
    """

    dataset: SegmentationDataset
    ids: tuple[str, ...]
    threads: int = READ_THREADS

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Sequence[int]) -> Pairs:
        return next(self.batches([positions]))

    def take_masks(self, positions: Sequence[int]) -> UInt8[Tensor, "n h w"]:
        masks = next(read_ahead(self._mask, [positions], self.threads))
        return torch.from_numpy(np.stack(masks))

    def batches(self, draws: Iterable[Sequence[int]]) -> Iterator[Pairs]:
        return map(_stacked, read_ahead(self._pair, draws, self.threads))

    def _pair(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        return read_pair(self.dataset, self.ids[position])

    def _mask(self, position: int) -> np.ndarray:
        return self.dataset.mask(self.ids[position])


def load_pairs(dataset: SegmentationDataset, ids: Sequence[str], progress: Progress = SILENT) -> Pairs:
    """Reads the pairs called `ids` into memory, in that order; all must have one size."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = pool.map(lambda item_id: read_pair(dataset, item_id), ids)
        return _stacked([*track(progress, f"read {dataset.name}", read, len(ids))])


def open_pairs(
    dataset: SegmentationDataset, ids: Sequence[str], memory_gib: float, progress: Progress = SILENT
) -> PairSource:
    """The pairs called `ids`, in memory where they take at most `memory_gib` there; the numbers are the same."""
    height, width = dataset.mask(ids[0]).shape
    if len(ids) * height * width * BYTES_A_PIXEL <= memory_gib * 2**30:
        return load_pairs(dataset, ids, progress)
    return FilePairs(dataset, tuple(ids))


def in_order(count: int, batch: int) -> list[range]:
    """Positions 0 to `count` in consecutive draws of `batch`, the last may be smaller."""
    return [range(start, min(start + batch, count)) for start in range(0, count, batch)]


def load_masks(dataset: SegmentationDataset, ids: Sequence[str]) -> UInt8[Tensor, "n h w"]:
    """Reads the masks called `ids` without their images, in that order; all must have one size."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return torch.from_numpy(np.stack(list(pool.map(dataset.mask, ids))))


def to_unit(images: UInt8[Tensor, "*b 3 h w"]) -> Tensor:
    """0..255 -> float32 in 0..1."""
    return images.to(torch.float32) / 255.0


def to_bytes(images: Tensor) -> Tensor:
    """Float in 0..1 -> 0..255, rounded; raises NumericError where a number is not finite, which would become black."""
    if not bool(torch.isfinite(images).all()):
        raise NumericError("Images hold numbers that are not finite, expected 0..1; they cannot be stored.")
    return (images.to(torch.float32).clamp(0, 1) * 255.0).round().to(torch.uint8)


def read_ahead(
    read: Callable[[int], T], draws: Iterable[Sequence[int]], threads: int = READ_THREADS
) -> Iterator[list[T]]:
    """What `read` gives for each position of each draw, in order, while the next draws are being read."""
    pool = ThreadPoolExecutor(threads)
    pending: deque[list[Future[T]]] = deque()
    try:
        for positions in draws:
            pending.append([pool.submit(read, position) for position in positions])
            if len(pending) > READ_AHEAD:
                yield [future.result() for future in pending.popleft()]
        while pending:
            yield [future.result() for future in pending.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _stacked(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Pairs:
    images, masks = zip(*pairs, strict=True)
    return Pairs(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        masks=torch.from_numpy(np.stack(masks)),
    )
