"""The gallery: masks, the images drawn for them, and what the teacher sees in these; one picture for a README."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data import LabelSpace

COLUMNS = {
    "mask": "mask",
    "real": "its real image",
    "unguided": "unguided",
    "guided": "guided",
    "opinion": "what the teacher sees",
    "nearest": "nearest real image",
}
"""Fields of a row in the order of the columns, with their captions."""

TILE_PX = 288
"""Width that tiles come near to."""

GAP_PX = 12
MARGIN_PX = 24
INK, FAINT, PAPER = (29, 39, 51), (92, 103, 115), (255, 255, 255)


@dataclass(frozen=True)
class GalleryRow:
    """One mask and its images, all of one size; what does not exist is None.

    Args:
        mask: train ids, 255 ignored.
        real: image of the mask in the source data set.
        unguided, guided: samples for the mask.
        opinion: the teacher's class for each pixel of the guided image (of the unguided one where there is none).
        nearest: the real image that is most like the guided one.
        note: a line below the row.
    """

    mask: UInt8[np.ndarray, "h w"]
    real: UInt8[np.ndarray, "h w 3"] | None = None
    unguided: UInt8[np.ndarray, "h w 3"] | None = None
    guided: UInt8[np.ndarray, "h w 3"] | None = None
    opinion: UInt8[np.ndarray, "h w"] | None = None
    note: str = ""
    nearest: UInt8[np.ndarray, "h w 3"] | None = None


@dataclass(frozen=True)
class Gallery:
    """Rows, and the classes whose colours masks are shown in.

    Raises:
        UsageError: there is no row.
    """

    rows: tuple[GalleryRow, ...]
    space: LabelSpace

    def __post_init__(self) -> None:
        if not self.rows:
            raise UsageError("A gallery needs at least one row; choose items to show.")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that at least one row fills."""
        return tuple(name for name in COLUMNS if any(getattr(row, name) is not None for row in self.rows))

    def classes(self, limit: int = 40) -> tuple[int, ...]:
        """Train ids that occur in the masks, by area, the largest first."""
        pixels = sum(np.bincount(row.mask.ravel(), minlength=256) for row in self.rows)
        order = np.argsort(-np.asarray(pixels), kind="stable").tolist()
        return tuple(index for index in order if index != IGNORE and np.asarray(pixels)[index])[:limit]

    def tile(self, row: GalleryRow, column: str) -> UInt8[np.ndarray, "h w 3"] | None:
        """One picture in RGB; masks and opinions in the colours of their classes."""
        content = getattr(row, column)
        return self.space.encode_colours(content) if content is not None and content.ndim == 2 else content


def gallery_png(gallery: Gallery) -> bytes:
    """The whole gallery as one picture with captions and a legend; pixels are enlarged, never smoothed.

    The same bytes from the same rows.
    """
    lefts, tile_px = _grid(gallery)
    width = lefts[-1] + tile_px + MARGIN_PX
    strips = [_captions(gallery, lefts, width)]
    strips += [_row_strip(gallery, row, lefts, (width, tile_px)) for row in gallery.rows]
    strips.append(_legend(gallery, width))
    canvas = Image.new("RGB", (width, 2 * MARGIN_PX + sum(strip.height for strip in strips)), PAPER)
    top = MARGIN_PX
    for strip in strips:
        canvas.paste(strip, (0, top))
        top += strip.height
    return _png(canvas)


def _grid(gallery: Gallery) -> tuple[list[int], int]:
    """Left edge of each column and the width of a tile: a multiple of a small picture's, so pixels stay square."""
    wide = gallery.rows[0].mask.shape[1]
    tile_px = wide * max(1, round(TILE_PX / wide)) if wide < 1.5 * TILE_PX else TILE_PX
    return [MARGIN_PX + index * (tile_px + GAP_PX) for index in range(len(gallery.columns))], tile_px


def _captions(gallery: Gallery, lefts: list[int], width: int) -> Image.Image:
    strip, font = Image.new("RGB", (width, 34), PAPER), ImageFont.load_default(19)
    pen = ImageDraw.Draw(strip)
    for left, column in zip(lefts, gallery.columns, strict=True):
        pen.text((left, 2), COLUMNS[column], INK, font)
    return strip


def _row_strip(gallery: Gallery, row: GalleryRow, lefts: list[int], widths: tuple[int, int]) -> Image.Image:
    width, tile_px = widths
    height_px = max(1, round(row.mask.shape[0] * tile_px / row.mask.shape[1]))
    strip = Image.new("RGB", (width, height_px + GAP_PX + (24 if row.note else 0)), PAPER)
    for left, column in zip(lefts, gallery.columns, strict=True):
        tile = gallery.tile(row, column)
        if tile is not None:
            strip.paste(_resized(tile, (tile_px, height_px)), (left, 0))
    if row.note:
        ImageDraw.Draw(strip).text((MARGIN_PX, height_px + 4), row.note, FAINT, ImageFont.load_default(15))
    return strip


def _resized(tile: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> Image.Image:
    picture = Image.fromarray(tile)
    larger = picture.width <= size[0]
    return picture.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _legend(gallery: Gallery, width: int) -> Image.Image:
    """Class names behind their colours, in as many lines as they need."""
    font, line_px, swatch_px = ImageFont.load_default(16), 28, 16
    places: list[tuple[int, int, int]] = []
    x, y = MARGIN_PX, 8
    for index in gallery.classes():
        wide = swatch_px + 7 + round(font.getlength(gallery.space.names[index])) + 20
        if x > MARGIN_PX and x + wide > width - MARGIN_PX:
            x, y = MARGIN_PX, y + line_px
        places.append((index, x, y))
        x += wide
    strip = Image.new("RGB", (width, y + line_px), PAPER)
    pen = ImageDraw.Draw(strip)
    for index, left, top in places:
        colour = tuple(gallery.space.colours[index].tolist())
        pen.rounded_rectangle((left, top + 3, left + swatch_px, top + 3 + swatch_px), 4, colour, FAINT)
        pen.text((left + swatch_px + 7, top), gallery.space.names[index], INK, font)
    return strip


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()
