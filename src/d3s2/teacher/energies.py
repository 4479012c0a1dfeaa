"""Energies: what the teacher sees in images against what their masks ask for, one number an item; lower is better.

A new energy is a function like these, and a line in `settings.ENERGIES`; a user's own one needs not even the line.
"""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.nets import Segmentation
from d3s2.teacher.bank import FeatureBank
from d3s2.teacher.losses import feature_matching, segmentation_consistency
from d3s2.teacher.settings import ENERGIES


@runtime_checkable
class Energy(Protocol):
    """How badly each image of a batch fits what is wanted, by what the teacher sees in it."""

    def __call__(self, seen: Segmentation, masks: UInt8[Tensor, "b h w"], bank: FeatureBank) -> Float[Tensor, " b"]:
        """One number an item, differentiable.

        Args:
            seen: what the teacher makes of the images.
            masks: train ids, 255 ignored.
            bank: statistics of the real data.
        """


def segmentation(seen: Segmentation, masks: UInt8[Tensor, "b h w"], bank: FeatureBank) -> Float[Tensor, " b"]:
    """L_seg: cross entropy, each class present counting the same."""
    return segmentation_consistency(seen.scores.float(), masks)


def segmentation_by_pixel(seen: Segmentation, masks: UInt8[Tensor, "b h w"], bank: FeatureBank) -> Float[Tensor, " b"]:
    """The same with each pixel counting the same."""
    return segmentation_consistency(seen.scores.float(), masks, by_class=False)


def features(seen: Segmentation, masks: UInt8[Tensor, "b h w"], bank: FeatureBank) -> Float[Tensor, " b"]:
    """L_feat: distance of each class's features to those of the real data."""
    return feature_matching(seen.features, masks, bank.means, bank.deviations)


def energies_of(
    names: Iterable[str], seen: Segmentation, masks: UInt8[Tensor, "b h w"], bank: FeatureBank
) -> dict[str, Float[Tensor, " b"]]:
    """Each named energy of a batch; raises UsageError where a user's own one gives anything but one number an item."""
    return {name: _one_an_item(name, ENERGIES.load(name)(seen, masks, bank), len(masks)) for name in names}


def _one_an_item(name: str, found: Any, num_items: int) -> Float[Tensor, " b"]:
    if not isinstance(found, Tensor) or found.shape != (num_items,):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise UsageError(
            f"Energy '{name}': gave {shape} for {num_items} item(s), expected a tensor of shape ({num_items},); return "
            "one number an item (docs/extending.md)."
        )
    return found


def agreement(scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Share of the scored pixels where the teacher's first choice is the mask's class, 0..1; 1 where none is scored.

    Examples:
        >>> import torch
        >>> from d3s2.teacher import agreement
        >>> scores = torch.zeros(1, 2, 2, 2)
        >>> scores[:, 1, 0] = 1.0
        >>> agreement(scores, torch.tensor([[[1, 1], [1, 255]]], dtype=torch.uint8))
        tensor([0.6667])
    """
    scored = masks != IGNORE
    right = (scores.argmax(dim=1).to(masks.dtype) == masks) & scored
    return torch.where(scored.any(dim=(1, 2)), right.sum(dim=(1, 2)) / scored.sum(dim=(1, 2)).clamp(min=1), 1.0)
