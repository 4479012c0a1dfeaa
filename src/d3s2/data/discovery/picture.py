"""A picture of a few pairs: image, mask in the colours of its classes, and both over one another."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from d3s2.base.train_ids import IGNORE
from d3s2.data.dataset import SegmentationDataset, read_pair
from d3s2.data.files.image_files import png_bytes

NUM_PAIRS = 4
SIDE_PX = 240
GAP_PX = 6
PAPER = 254


def picture_of_pairs(dataset: SegmentationDataset, num_pairs: int = NUM_PAIRS) -> bytes:
    """A PNG with a row for each of a few pairs, evenly spread; raises DataError where one cannot be read."""
    positions = np.linspace(0, len(dataset.ids) - 1, min(num_pairs, len(dataset.ids))).astype(int)
    rows = [_row(dataset, dataset.ids[at]) for at in positions]
    gap = np.full((GAP_PX, rows[0].shape[1], 3), PAPER, dtype=np.uint8)
    return png_bytes(np.concatenate([part for row in rows for part in (row, gap)][:-1]))


def _row(dataset: SegmentationDataset, item_id: str) -> UInt8[np.ndarray, "h w 3"]:
    image, mask = read_pair(dataset, item_id)
    colours = dataset.space.encode_colours(mask)
    both = np.where(mask[..., None] == IGNORE, image, image // 2 + colours // 2).astype(np.uint8)
    cells = [_cell(picture, how) for picture, how in zip((image, colours, both), (1, 0, 1), strict=True)]
    gap = np.full((SIDE_PX, GAP_PX, 3), PAPER, dtype=np.uint8)
    return np.concatenate([cells[0], gap, cells[1], gap, cells[2]], axis=1)


def _cell(picture: UInt8[np.ndarray, "h w 3"], smooth: int) -> UInt8[np.ndarray, "a a 3"]:
    """The whole picture in a square."""
    how = Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST
    scale = SIDE_PX / max(picture.shape[:2])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    canvas = Image.new("RGB", (SIDE_PX, SIDE_PX), (PAPER, PAPER, PAPER))
    canvas.paste(
        Image.fromarray(picture).resize((width, height), how), ((SIDE_PX - width) // 2, (SIDE_PX - height) // 2)
    )
    return np.asarray(canvas)
