"""Augmentation of a batch of pairs: mirror, zoom, shift or crop, light and colour. Masks by nearest only.

Own code and not a library's: the known ones draw from global random state, work one image at a time, or need
torchvision; here it is one affine grid and three colour factors for the batch.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
        crop_px: (height, width) of what is cut out of the zoomed picture, anywhere in it. None: all of it is kept.
        shift: largest shift as a share of the side; without effect where there is a crop.
        light: brightness and contrast vary by factors 1 +- light.
        colour: each channel varies by a factor 1 +- colour.
    """

    flip: bool = True
    zoom: tuple[float, float] = (0.75, 1.5)
    crop_px: tuple[int, int] | None = None
    shift: float = 0.15
    light: float = 0.25
    colour: float = 0.1


class Augmented(NamedTuple):
    """A varied batch, and where each of its pixels lay in the pictures: (x, y), -1..1 from edge to edge."""

    images: Float[Tensor, "b 3 y x"]
    masks: UInt8[Tensor, "b y x"]
    grid: Float[Tensor, "b y x 2"]


def augment(
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    how: Augmentation,
    generator: torch.Generator,
) -> Augmented:
    """A varied batch; what comes in from outside the picture is IGNORE in the mask.

    Args:
        images: in 0..1.
        generator: on the CPU; the same draws give the same batch on any device.
    """
    height, width = images.shape[-2:]
    grid = _draw_grid(len(images), (height, width), how, generator).to(images)
    moved = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    # +1 - 1: grid_sample fills with 0 outside, which has to become IGNORE and not class 0
    raised = (masks.float() + 1)[:, None]
    moved_masks = F.grid_sample(raised, grid, mode="nearest", align_corners=False)[:, 0].round() - 1
    moved_masks = torch.where(moved_masks < 0, float(IGNORE), moved_masks).to(torch.uint8)
    return Augmented(_relit(moved, how, generator), moved_masks, grid)


def _draw_grid(count: int, size_px: tuple[int, int], how: Augmentation, generator: torch.Generator) -> Tensor:
    low, high = (torch.log(torch.tensor(bound)) for bound in how.zoom)
    zoom = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
    mirror = 1.0 - 2.0 * (torch.rand(count, generator=generator) < 0.5).float() if how.flip else torch.ones(count)
    place = torch.rand(count, 2, generator=generator) * 2 - 1
    affine = torch.zeros(count, 2, 3)
    if how.crop_px is None:
        seen_px = size_px
        affine[:, 0, 0], affine[:, 1, 1], affine[:, :, 2] = mirror / zoom, 1 / zoom, place * 2 * how.shift
    else:
        seen_px = how.crop_px
        # half of what is seen, in halves of the picture: across, down
        extent = torch.tensor([seen_px[1] / size_px[1], seen_px[0] / size_px[0]]) / zoom[:, None]
        affine[:, 0, 0], affine[:, 1, 1] = mirror * extent[:, 0], extent[:, 1]
        affine[:, :, 2] = place * (1 - extent).abs()
    return F.affine_grid(affine, [count, 1, *seen_px], align_corners=False)


def _relit(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    def factors(spread: float, channels: int) -> Tensor:
        drawn = 1 + spread * (torch.rand(len(images), channels, generator=generator) * 2 - 1)
        return drawn[:, :, None, None].to(images)

    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    contrasted = (images - mean) * factors(how.light, 1) + mean
    return (contrasted * factors(how.light, 1) * factors(how.colour, 3)).clamp(0, 1)
