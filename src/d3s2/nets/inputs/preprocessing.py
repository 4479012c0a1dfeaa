"""What a network wants done to an image first, on tensors and differentiably."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from d3s2.base.errors import ModelError, StoreError
from d3s2.base.formats.files import read_json, write_json
from d3s2.nets.inputs.resizing import resized

PREPROCESSOR_NAME = "preprocessor_config.json"
MAX_DIVISOR = 1024
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation of images in 0..1.

    Args:
        mean, std: one number a channel, of images in 0..1.
        divisor: sides are stretched up to a multiple of it, as transformers' image processors do.
        size_px: what the network sees: the shorter side, or (height, width). None keeps the size of the images.
            Smaller makes guidance cheaper.
        window_px: side of the square windows that a network of one size takes (`nets.inputs`); images are scaled so
            that their shorter side has it, and neither `divisor` nor `size_px` counts. None: any size is taken.

    Source: the image processors of transformers; their own `size` is not used, since images arrive at the size that
    the run has chosen.
    """

    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    divisor: int = 1
    size_px: int | tuple[int, int] | None = None
    window_px: int | None = field(default=None, repr=False)  # digests of earlier versions are of a text without it

    def __call__(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 y x"]:
        size = self.input_px(images.shape[-2], images.shape[-1])
        images = resized(images, size, antialias=True)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std

    def input_px(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that the network sees of an image of this size."""
        if self.window_px is not None:
            shorter = min(height, width)
            return self.window_px * height // shorter, self.window_px * width // shorter
        if isinstance(self.size_px, tuple):
            height, width = self.size_px
        elif self.size_px is not None:
            scale = self.size_px / min(height, width)
            height, width = round(height * scale), round(width * scale)
        return self._stretched(height), self._stretched(width)

    def _stretched(self, side: int) -> int:
        return math.ceil(side / self.divisor) * self.divisor


def read_preprocessing(
    folder: Path, divisor: int, size_px: int | tuple[int, int] | None, window_px: int | None = None
) -> Preprocessing:
    """The preprocessing that a network's folder names.

    Args:
        divisor: where the file names none.
        size_px, window_px: as for `Preprocessing`.

    Raises:
        ModelError: the file is missing, or has no mean and standard deviation of three numbers.
    """
    path = folder / PREPROCESSOR_NAME
    try:
        content: dict[str, Any] = read_json(path)
        mean, std = (tuple(map(float, content[key])) for key in ("image_mean", "image_std"))
        divisor = int(content.get("size_divisor") or divisor)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or not 1 <= divisor <= MAX_DIVISOR:
            raise ValueError
        return Preprocessing(mean, std, divisor, size_px, window_px)
    except (StoreError, KeyError, TypeError, ValueError):
        raise ModelError(
            f"{path}: names no image_mean and image_std of three numbers; write them there, a network without its "
            "normalisation gives wrong scores."
        ) from None


def write_preprocessing(folder: Path, preprocessing: Preprocessing, processor: str) -> None:
    """Writes what `read_preprocessing` reads, in the form that transformers' `processor` (a class name) reads too."""
    content = {
        "image_processor_type": processor,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": False,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
        "size_divisor": preprocessing.divisor,
    }
    write_json(folder / PREPROCESSOR_NAME, content)
