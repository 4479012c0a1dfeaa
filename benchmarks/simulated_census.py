"""Censuses for benchmarks: simulated from class frequencies, or counted from a folder of real masks."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from PIL import Image

from d3s2.data.census.counts import MaskCensus, count_mask

ADE20K_MASKS = 20_210
MASK_PX = 512 * 512
FEWEST, MOST = 0.002, 0.58
"""Share of ADE20K's training masks that hold its rarest and its most common class."""


def ade20k_frequencies(object_info: Path | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each class the share of masks that hold it, and the mean share of pixels in those masks.

    Args:
        object_info: ADE20K's objectInfo150.csv with a column Train (training masks that hold the class); None gives a
            geometric curve between ADE20K's ends.
    """
    if object_info is None:
        held = np.geomspace(MOST, FEWEST, 150)
        return held, np.geomspace(0.27, 0.03, 150)
    with object_info.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    held = np.array([int(row["Train"]) for row in rows]) / ADE20K_MASKS
    return held, np.array([float(row["Ratio"]) for row in rows]) / held


def stretched(held: NDArray[np.float64], share: NDArray[np.float64], num_classes: int) -> list[NDArray[np.float64]]:
    """The same two curves, by rank, for another number of classes and as many classes a mask as before."""
    order = np.argsort(-held)
    where, places = np.linspace(0, 1, num_classes), np.linspace(0, 1, len(held))
    longer = [np.exp(np.interp(where, places, np.log(curve[order]))) for curve in (held, share)]
    longer[0] *= held.sum() / longer[0].sum()
    return longer


def simulate(num_masks: int, held: NDArray[np.float64], share: NDArray[np.float64], seed: int = 0) -> MaskCensus:
    """Classes fall on masks independently; shares of pixels are log-normal about their mean (sigma 1)."""
    rng = np.random.default_rng(seed)
    rows, pixels, starts = [], [], [0]
    for frequency, mean in zip(held, share, strict=True):
        holders = np.sort(rng.choice(num_masks, rng.binomial(num_masks, frequency), replace=False)).astype(np.int32)
        px = rng.lognormal(np.log(mean * MASK_PX) - 0.5, 1.0, len(holders))
        rows.append(holders)
        pixels.append(px.clip(1, MASK_PX).astype(np.int32))
        starts.append(starts[-1] + len(holders))
    columns = scipy.sparse.csc_array(
        (np.concatenate(pixels), np.concatenate(rows), np.array(starts)), shape=(num_masks, len(held))
    )
    del rows, pixels
    counted = columns.tocsr()
    total = np.asarray(counted.sum(axis=1)).ravel()
    ids = [f"simulated-{number:08d}" for number in range(num_masks)]
    names = tuple(f"class-{number:03d}" for number in range(len(held)))
    return MaskCensus(names, ids, counted, np.maximum(total, MASK_PX).astype(np.int32))


def count_folder(paths: Sequence[Path], class_names: tuple[str, ...], reduce: int) -> MaskCensus:
    """Counts index masks at 1/`reduce` of their size; values past the classes are ignored."""
    counts = []
    for path in paths:
        with Image.open(path) as picture:
            size = (picture.width // reduce, picture.height // reduce)
            mask = np.array(picture.resize(size, Image.Resampling.NEAREST), dtype=np.uint8)
        mask[mask >= len(class_names)] = 255
        counts.append(count_mask(mask, len(class_names)))
    return MaskCensus(
        class_names=class_names,
        ids=[path.stem for path in paths],
        pixels=scipy.sparse.csr_array(np.stack([count.class_px for count in counts])),
        mask_px=np.array([count.mask_px for count in counts], dtype=np.int32),
        layouts=np.stack([count.layout for count in counts]),
    )
