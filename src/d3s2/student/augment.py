"""Random variations of a batch of pairs: mirror, zoom, shift or crop, light and colour; masks by nearest only.

The arithmetic is kornia's; every draw is made here, from one generator that is handed in, so that a resumed training
repeats the same numbers and no global random state is touched.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.geometry.transform import get_affine_matrix2d, warp_affine
from torch import Tensor

from d3s2.base.train_ids import IGNORE


@dataclass(frozen=True)
class Augmentation:
    """What is varied, and how far; the same for every set that is compared.

    Args:
        flip: mirror half of the pairs.
        zoom: smallest and largest scale; below 1 the picture shrinks and its surroundings are ignored. Drawn evenly in
            its logarithm.
        crop_px: (height, width) of what is cut out of the zoomed picture, anywhere in it. None: all of it is kept.
        shift: largest shift as a share of the side; without effect where there is a crop.
        light: brightness and contrast vary by factors 1 +- light.
        saturation: varies by factors 1 +- saturation.
        hue: largest turn of the hues, as a share of the colour circle.
    """

    flip: bool = True
    zoom: tuple[float, float] = (0.75, 1.5)
    crop_px: tuple[int, int] | None = None
    shift: float = 0.15
    light: float = 0.25
    saturation: float = 0.25
    hue: float = 0.02


class Augmented(NamedTuple):
    """A varied batch, and where each pixel of the pictures went: (x, y) in px, x' = matrix (x, y, 1)."""

    images: Float[Tensor, "b 3 y x"]
    masks: UInt8[Tensor, "b y x"]
    matrix: Float[Tensor, "b 2 3"]


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
    seen_px = how.crop_px or (height, width)
    matrix = _draw_matrix(len(images), (height, width), how, generator).to(images)
    moved = warp_affine(images, matrix, seen_px, padding_mode="border")
    outside = torch.tensor([float(IGNORE)], device=images.device)
    moved_masks = warp_affine(
        masks[:, None].to(images), matrix, seen_px, mode="nearest", padding_mode="fill", fill_value=outside
    )
    return Augmented(_relit(moved, how, generator), moved_masks[:, 0].round().to(torch.uint8), matrix)


def _draw_matrix(
    count: int, size_px: tuple[int, int], how: Augmentation, generator: torch.Generator
) -> Float[Tensor, "b 2 3"]:
    """From px of the picture to px of what is seen: mirrored and zoomed about the middle, then moved."""
    low, high = (torch.log(torch.tensor(bound)) for bound in how.zoom)
    zoom = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
    mirror = 1.0 - 2.0 * (torch.rand(count, generator=generator) < 0.5).float() if how.flip else torch.ones(count)
    place = torch.rand(count, 2, generator=generator) * 2 - 1
    size = torch.tensor(size_px[::-1]).float()  # across, down
    seen = size if how.crop_px is None else torch.tensor(how.crop_px[::-1]).float()
    zoomed = zoom[:, None] * size
    reach = how.shift * zoomed if how.crop_px is None else (zoomed - seen).abs() / 2
    return get_affine_matrix2d(
        translations=(seen - size) / 2 + place * reach,
        center=((size - 1) / 2).expand(count, 2),
        scale=torch.stack([mirror * zoom, zoom], dim=1),
        angle=torch.zeros(count),
    )[:, :2]


def _relit(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    def around(middle: float, spread: float) -> Tensor:
        return (middle + spread * (torch.rand(len(images), generator=generator) * 2 - 1)).to(images)

    images = adjust_contrast_with_mean_subtraction(images, around(1.0, how.light))
    images = adjust_brightness_accumulative(images, around(1.0, how.light))
    images = adjust_saturation_with_gray_subtraction(images, around(1.0, how.saturation))
    return adjust_hue(images, around(0.0, 2 * torch.pi * how.hue)) if how.hue > 0 else images
