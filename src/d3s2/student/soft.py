"""Soft labels in training: class distributions on a coarse grid, brought to the pixels of an augmented batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.train_ids import IGNORE
from d3s2.student.augment import Augmented


@runtime_checkable
class SoftCells(Protocol):
    """A distribution over the classes in each cell of a grid over a picture."""

    @property
    def cell_px(self) -> int:
        """Height and width of a cell in pixels; cells at the lower and right edge may be cut."""

    def probabilities(self) -> Float32[np.ndarray, "c y x"]:
        """The distribution in each cell."""


@dataclass(frozen=True)
class SoftSource:
    """The soft labels of a set.

    Args:
        cells: of each pair by position; None for a pair that has none: its mask says it all.
        weight: share of the loss that they have, above 0 and at most 1; the mask has the rest.
    """

    cells: Sequence[SoftCells | None]
    weight: float


def soft_batch(
    cells: Sequence[SoftCells | None], varied: Augmented, size_px: tuple[int, int], num_classes: int
) -> Float[Tensor, "b c y x"]:
    """The distribution at each pixel of an augmented batch, moved as the images were.

    Args:
        cells: of the pairs of the batch.
        size_px: (height, width) of the pictures before augmentation.
    """
    moved = []
    for index, soft in enumerate(cells):
        if soft is None:
            # an ignored pixel has no part in the loss, whatever stands there
            known = varied.masks[index].long().where(varied.masks[index] != IGNORE, 0)
            moved.append(F.one_hot(known, num_classes).permute(2, 0, 1).float())
            continue
        table = torch.from_numpy(soft.probabilities())[None]
        covered = torch.tensor([side * soft.cell_px for side in (table.shape[-1], table.shape[-2])])
        # cut cells reach beyond the picture: -1..1 over the picture becomes -1..1 over the cells
        grid = (varied.grid[index] + 1) * torch.tensor([size_px[1], size_px[0]]) / covered - 1
        moved.append(F.grid_sample(table, grid[None], padding_mode="border", align_corners=False)[0])
    return torch.stack(moved)
