"""Pairs as tensors: held in memory, or read from files when they are needed; who uses them cannot tell which."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.progress import SILENT, Progress, track
from d3s2.data.dataset import ResizedDataset, SegmentationDataset, read_pair

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
        return _stacked(self._read(self._pair, positions))

    def take_masks(self, positions: Sequence[int]) -> UInt8[Tensor, "n h w"]:
        return torch.from_numpy(np.stack(self._read(self._mask, positions)))

    def batches(self, draws: Iterable[Sequence[int]]) -> Iterator[Pairs]:
        return map(_stacked, read_ahead(self._pair, draws, self.threads))

    def _read(self, read: Callable[[int], T], positions: Sequence[int]) -> list[T]:
        # Closed here: at an end that the garbage collector makes, Python drops a Ctrl-C.
        with closing(read_ahead(read, [positions], self.threads)) as draws:
            return next(draws)

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
    dataset: SegmentationDataset, ids: Sequence[str], memory_gib: float = 0, progress: Progress = SILENT
) -> PairSource:
    """The pairs called `ids`, in memory where they take at most `memory_gib` there; the numbers are the same.

    Examples:
        >>> import d3s2
        >>> from d3s2.data import open_pairs, open_split
        >>> val = open_split(d3s2.load_run("scenes", ["data.options={count: 6}"]).data, "val")
        >>> pairs = open_pairs(val, val.ids, memory_gib=1.0).take([0, 2])
        >>> pairs.images.shape, pairs.masks.shape
        (torch.Size([2, 3, 64, 96]), torch.Size([2, 64, 96]))
    """
    height, width = dataset.mask(ids[0]).shape
    if len(ids) * height * width * BYTES_A_PIXEL <= memory_gib * 2**30:
        return load_pairs(dataset, ids, progress)
    return FilePairs(dataset, tuple(ids))


def native_pairs(
    data: ResizedDataset, ids: Sequence[str]
) -> Iterator[tuple[UInt8[np.ndarray, "a b 3"], UInt8[np.ndarray, "h w"]]]:
    """Pictures at the working size, neither cut nor padded, with masks as large as they are; read ahead, one by one."""

    def read(position: int) -> tuple[np.ndarray, np.ndarray]:
        image, mask = read_pair(data.source, ids[position])
        return data.scaled_image(image), mask

    return (pair for (pair,) in read_ahead(read, in_order(len(ids), 1)))


def in_order(count: int, batch: int) -> list[range]:
    """Positions 0 to `count` in consecutive draws of `batch`, the last may be smaller.

    Examples:
        >>> from d3s2.data import in_order
        >>> in_order(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(start, min(start + batch, count)) for start in range(0, count, batch)]


def read_ahead(
    read: Callable[[int], T], draws: Iterable[Sequence[int]], threads: int = READ_THREADS
) -> Generator[list[T], None, None]:
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
