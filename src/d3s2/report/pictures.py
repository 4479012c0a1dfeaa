"""Small encodings of pictures for a page: WebP for images, PNG with a palette for masks, as data URIs.

Masks are brought to size without mixing classes; misread pixels are taken on the reduced pictures, so that what is
marked is what differs between the two that are shown.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace

MARK = (255, 0, 170)
"""Colour of misread pixels: on neither images nor palettes of data sets a frequent one."""


@dataclass(frozen=True)
class Encoding:
    """How pictures are stored.

    Args:
        side_px: their longest side at the most; larger pictures are brought down to it.
        quality: of WebP, 1 to 100; None is lossless.
    """

    side_px: int
    quality: int | None

    def shown_px(self, size_px: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of a picture of `size_px` as it is stored."""
        share = min(1.0, self.side_px / max(size_px))
        return max(1, round(size_px[0] * share)), max(1, round(size_px[1] * share))


ENCODINGS = (
    Encoding(160, None),
    Encoding(1024, 88),
    Encoding(768, 85),
    Encoding(512, 82),
    Encoding(448, 80),
    Encoding(384, 80),
    Encoding(320, 78),
    Encoding(288, 76),
    Encoding(256, 75),
    Encoding(224, 74),
    Encoding(192, 72),
    Encoding(160, 70),
    Encoding(128, 70),
    Encoding(96, 65),
)
"""From the best to the smallest; the lossless one is for pictures that are small anyway."""


def image_uri(image: UInt8[np.ndarray, "h w 3"], encoding: Encoding) -> str:
    """An RGB image as WebP."""
    height, width = encoding.shown_px(image.shape[:2])
    picture = Image.fromarray(image)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    lossless = encoding.quality is None
    return _uri(picture, "webp", lossless=lossless, quality=100 if encoding.quality is None else encoding.quality)


def mask_uri(mask: UInt8[np.ndarray, "h w"], space: LabelSpace, encoding: Encoding) -> str:
    """Train ids as PNG in the colours of their classes, ignored pixels black; the palette holds what occurs."""
    shown = reduced(mask, encoding)
    ids = np.flatnonzero(np.bincount(shown.ravel(), minlength=256)).astype(np.uint8)
    position_of = np.zeros(256, dtype=np.uint8)
    position_of[ids] = np.arange(len(ids))
    return _png_uri(position_of[shown], space.encode_colours(ids[None])[0])


def misread_uri(misread: Bool[np.ndarray, "h w"]) -> str:
    """Marked pixels as PNG, the others transparent."""
    return _png_uri(misread, np.array([(0, 0, 0), MARK], dtype=np.uint8), transparency=0)


def reduced(mask: UInt8[np.ndarray, "h w"], encoding: Encoding) -> UInt8[np.ndarray, "h2 w2"]:
    """A mask at the size that is stored; every pixel keeps a class that stands there."""
    height, width = encoding.shown_px(mask.shape)
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def misread_pixels(mask: UInt8[np.ndarray, "h w"], opinion: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where the teacher sees another class than the mask has; ignored pixels count as neither."""
    return (mask != opinion) & (mask != IGNORE)


def _png_uri(positions: np.ndarray, palette: UInt8[np.ndarray, "c 3"], **options: Any) -> str:
    picture = Image.fromarray(positions.astype(np.uint8))
    picture.putpalette(palette.tobytes())
    return _uri(picture, "png", optimize=True, **options)


def _uri(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
