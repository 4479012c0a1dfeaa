"""Pairs as tensors in memory, for data sets at a working size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.progress import SILENT, Progress, track
from d3s2.data.dataset import SegmentationDataset, read_pair

READ_THREADS = 4


@dataclass(frozen=True)
class Pairs:
    """Images and masks of one size.

    Args:
        images: RGB, 0..255.
        masks: train ids, 255 ignored.
    """

    images: UInt8[Tensor, "n 3 h w"]
    masks: UInt8[Tensor, "n h w"]

    def __len__(self) -> int:
        return len(self.masks)


def load_pairs(dataset: SegmentationDataset, ids: Sequence[str], progress: Progress = SILENT) -> Pairs:
    """Reads the pairs called `ids` into memory, in that order; all must have one size."""
    images, masks = [], []
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = pool.map(lambda item_id: read_pair(dataset, item_id), ids)
        for image, mask in track(progress, f"read {dataset.name}", read, len(ids)):
            images.append(image)
            masks.append(mask)
    return Pairs(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(),
        masks=torch.from_numpy(np.stack(masks)),
    )


def load_masks(dataset: SegmentationDataset, ids: Sequence[str]) -> UInt8[Tensor, "n h w"]:
    """Reads the masks called `ids` without their images, in that order; all must have one size."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return torch.from_numpy(np.stack(list(pool.map(dataset.mask, ids))))


def to_unit(images: UInt8[Tensor, "*b 3 h w"]) -> Tensor:
    """0..255 -> float32 in 0..1."""
    return images.to(torch.float32) / 255.0


def to_bytes(images: Tensor) -> Tensor:
    """Float in 0..1 -> 0..255, rounded."""
    return (images.to(torch.float32).clamp(0, 1) * 255.0).round().to(torch.uint8)
