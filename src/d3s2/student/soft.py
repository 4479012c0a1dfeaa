"""Soft labels in training: class distributions on a coarse grid, brought to the pixels of an augmented batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_device
from d3s2.base.train_ids import IGNORE
from d3s2.student.augment import source_places


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

    def at(self, positions: Sequence[int]) -> "SoftSource":
        """The soft labels of the pairs at `positions`, in that order."""
        return SoftSource([self.cells[position] for position in positions], self.weight)


def soft_batch(
    cells: Sequence[SoftCells | None],
    masks: UInt8[Tensor, "b y x"],
    matrix: Float[Tensor, "b 2 3"],
    num_classes: int,
) -> Float[Tensor, "b c y x"]:
    """The distribution at each pixel of an augmented batch, moved as the images were, on the device of the masks.

    Args:
        cells: of the pairs of the batch; the cells travel, their pixels are made on the device.
        masks: augmented.
        matrix: of the variation, on the CPU.
    """
    seen_px = (masks.shape[-2], masks.shape[-1])
    moved = []
    for index, soft in enumerate(cells):
        if soft is None:
            # an ignored pixel has no part in the loss, whatever stands there
            known = masks[index].long().where(masks[index] != IGNORE, 0)
            moved.append(F.one_hot(known, num_classes).permute(2, 0, 1).float())
            continue
        table = torch.from_numpy(soft.probabilities())[None]
        size_px = (table.shape[-2], table.shape[-1])
        places = source_places(matrix[index : index + 1] @ _cells_to_px(soft.cell_px), size_px, seen_px, masks.device)
        here = to_device(table, masks.device)
        moved.append(F.grid_sample(here, places, padding_mode="border", align_corners=True)[0])
    return torch.stack(moved)


def _cells_to_px(cell_px: int) -> Float[Tensor, "3 3"]:
    """From (column, row, 1) of a cell to (x, y, 1) of its middle."""
    middle = (cell_px - 1) / 2
    return torch.tensor([[cell_px, 0, middle], [0, cell_px, middle], [0, 0, 1]], dtype=torch.float32)
