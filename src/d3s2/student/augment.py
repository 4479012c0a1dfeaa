"""Augmentation of a batch of pairs: mirror, zoom and shift, light and colour. Masks by nearest only.

Own code and not a library's: the known ones draw from global random state, work one image at a time, or need
torchvision; here it is one affine grid and three colour factors for the batch.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.train_ids import IGNORE


@dataclass(frozen=True)
class Augmentation:
    """What is varied, and how far.

    Args:
        flip: mirror half of the pairs.
        zoom: smallest and largest scale; above 1 magnifies. Drawn evenly in its logarithm.
        shift: largest shift as a share of the side.
        light: brightness and contrast vary by factors 1 +- light.
        colour: each channel varies by a factor 1 +- colour.
    """

    flip: bool = True
    zoom: tuple[float, float] = (0.75, 1.5)
    shift: float = 0.15
    light: float = 0.25
    colour: float = 0.1


def augment(
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    how: Augmentation,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"]]:
    """A varied batch; what comes in from outside the picture is IGNORE in the mask.

    Args:
        images: in 0..1.
        generator: on the CPU; the same draws give the same batch on any device.
    """
    count = len(images)
    low, high = (torch.log(torch.tensor(bound)) for bound in how.zoom)
    zoom = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
    mirror = 1.0 - 2.0 * (torch.rand(count, generator=generator) < 0.5).float() if how.flip else torch.ones(count)
    shift = (torch.rand(count, 2, generator=generator) * 2 - 1) * 2 * how.shift
    affine = torch.zeros(count, 2, 3)
    affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = mirror / zoom, 1 / zoom, shift
    grid = F.affine_grid(affine, list(images.shape), align_corners=False).to(images)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # +1 - 1: grid_sample fills with 0 outside, which has to become IGNORE and not class 0
    raised = (masks.float() + 1)[:, None]
    moved_masks = F.grid_sample(raised, grid, mode="nearest", align_corners=False)[:, 0].round() - 1
    moved_masks = torch.where(moved_masks < 0, float(IGNORE), moved_masks).to(torch.uint8)
    return _relit(moved, how, generator), moved_masks


def _relit(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    def factors(spread: float, channels: int) -> Tensor:
        drawn = 1 + spread * (torch.rand(len(images), channels, generator=generator) * 2 - 1)
        return drawn[:, :, None, None].to(images)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrasted = (images - mean) * factors(how.light, 1) + mean
    return (contrasted * factors(how.light, 1) * factors(how.colour, 3)).clamp(0, 1)
