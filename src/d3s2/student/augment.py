"""Random variations of a batch of pairs: mirror, zoom, shift or crop, light and colour; masks by nearest only.

Every draw is made on the CPU, from one generator that is handed in: a resumed training repeats the same numbers and no
global random state is touched. What was drawn is done to the pictures on their own device, which is never waited for.
The arithmetic of matrices and colours is kornia's.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.geometry.conversions import convert_affinematrix_to_homography, normalize_homography
from kornia.geometry.transform import get_affine_matrix2d
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_device
from d3s2.base.train_ids import IGNORE
from d3s2.student.settings import AugmentationSettings

ALL_ROWS = slice(None)


@dataclass(frozen=True)
class Variation:
    """What is done to each pair of a batch.

    Args:
        matrix: where each pixel of the pictures goes: (x, y) in px, x' = matrix (x, y, 1). Mirrored, zoomed and moved,
            never turned.
        colours: factors of contrast, brightness and saturation; a fourth column, where there is one, is the turn of
            the hues in radians.
        seen_px: (height, width) of what is seen.
    """

    matrix: Float[Tensor, "b 2 3"]
    colours: Float[Tensor, "b k"]
    seen_px: tuple[int, int]


def draw_variation(
    count: int, size_px: tuple[int, int], how: AugmentationSettings, generator: torch.Generator
) -> Variation:
    """What is to be done to `count` pairs of one size, drawn on the CPU.

    Args:
        generator: on the CPU; the same draws give the same batch on any device.
    """
    matrix = _draw_matrix(count, size_px, how, generator)
    columns = [(1.0, how.brightness_contrast), (1.0, how.brightness_contrast), (1.0, how.saturation)]
    if how.hue > 0:
        columns.append((0.0, 2 * torch.pi * how.hue))
    colours = [middle + spread * (torch.rand(count, generator=generator) * 2 - 1) for middle, spread in columns]
    return Variation(matrix, torch.stack(colours, dim=1), how.crop_px or size_px)


def augment(
    images: Float[Tensor, "n 3 h w"], masks: UInt8[Tensor, "b h w"], variation: Variation, rows: slice = ALL_ROWS
) -> tuple[Float[Tensor, "n 3 y x"], UInt8[Tensor, "b y x"]]:
    """The varied batch, on the device of the images; what comes in from outside a picture is IGNORE in its mask.

    Args:
        images: in 0..1, of the pairs at `rows` alone.
    """
    size_px = (masks.shape[-2], masks.shape[-1])
    places = source_places(variation.matrix, size_px, variation.seen_px, images.device)
    moved = F.grid_sample(images, places[rows], padding_mode="border", align_corners=True)
    # outside it reads 0: ids are shifted so that this stands for IGNORE
    shifted = F.grid_sample(masks[:, None].to(images.dtype) - IGNORE, places, mode="nearest", align_corners=True)
    colours = to_device(variation.colours[rows].contiguous(), images.device)
    return _relit(moved, colours), (shifted[:, 0] + IGNORE).to(torch.uint8)


def source_places(
    matrix: Float[Tensor, "b 2 3"], size_px: tuple[int, int], seen_px: tuple[int, int], device: torch.device
) -> Float[Tensor, "b y x 2"]:
    """Where in the picture each pixel of what is seen comes from, as `grid_sample` with aligned corners counts.

    Args:
        matrix: on the CPU, as in `Variation`.
    """
    moves = normalize_homography(convert_affinematrix_to_homography(matrix), size_px, seen_px)
    scale, shift = to_device(_inverse(moves), device).unbind(dim=-1)
    # nothing is turned, so that a column has one x and a row one y
    rows, columns = (
        torch.linspace(-1, 1, count, device=device) if count > 1 else torch.zeros(1, device=device) for count in seen_px
    )
    x = (scale[:, :1] * columns + shift[:, :1])[:, None, :]
    y = (scale[:, 1:] * rows + shift[:, 1:])[:, :, None]
    return torch.stack(torch.broadcast_tensors(x, y), dim=-1)


def _inverse(moves: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 2 2"]:
    """Of x' = scale x + shift along each axis: the scales and the shifts that lead back."""
    scale, shift = moves[:, [0, 1], [0, 1]], moves[:, :2, 2]
    area = scale.prod(dim=1, keepdim=True)
    others = scale.flip(1)
    return torch.stack([others / area, -(others * shift) / area], dim=-1)


def _draw_matrix(
    count: int, size_px: tuple[int, int], how: AugmentationSettings, generator: torch.Generator
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


def _relit(images: Float[Tensor, "n 3 y x"], colours: Float[Tensor, "n k"]) -> Float[Tensor, "n 3 y x"]:
    contrast, brightness, saturation, *hue = colours.unbind(dim=1)
    images = adjust_contrast_with_mean_subtraction(images, contrast)
    images = adjust_brightness_accumulative(images, brightness)
    images = adjust_saturation_with_gray_subtraction(images, saturation)
    return adjust_hue(images, hue[0]) if hue else images
