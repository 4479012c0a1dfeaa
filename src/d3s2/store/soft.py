"""Soft labels: a teacher's class distribution in each cell of a grid, in a few bytes a cell.

    variable     symbol  meaning
    mean         p_c     mean probability of class c over the pixels of a cell
    num_top      k       classes kept in a cell, the most probable ones
    weights      q_i     integers 0..255; what the k kept lack to 255 is shared evenly by the other classes

Rounding is by largest remainder over the k kept and the rest together, so that a cell always sums to one and each kept
probability, and the mass of the rest, is off by less than 1/255. A dropped class is off by at most that mass or 1/255.
A cell takes 2 k bytes: 32 KiB for 512 x 512 pixels with cells of 8 pixels and k = 4, against 75 MiB for 150 classes
a pixel in float16.
"""

import json
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from d3s2.base.errors import StoreError, UsageError

SCALE = 255
ERROR_BOUND = 1 / SCALE
"""Each kept probability is off by less than this."""


@dataclass(frozen=True)
class SoftLabels:
    """The most probable classes of each cell.

    Args:
        classes: train ids, the most probable first.
        weights: their probabilities times 255.
        num_classes: classes of the label space.
        cell_px: height and width of a cell in pixels of the label; cells at the lower and right edge may be cut.
    """

    classes: UInt8[np.ndarray, "k h w"]
    weights: UInt8[np.ndarray, "k h w"]
    num_classes: int
    cell_px: int

    def probabilities(self) -> Float32[np.ndarray, "c h w"]:
        """The distribution in each cell; sums to one over c."""
        num_top = len(self.classes)
        rest = SCALE - self.weights.sum(axis=0, dtype=np.int64)
        shared = rest / (SCALE * max(self.num_classes - num_top, 1))
        dense = np.repeat(shared[None], self.num_classes, axis=0).astype(np.float32)
        np.put_along_axis(dense, self.classes.astype(np.int64), self.weights.astype(np.float32) / SCALE, axis=0)
        return dense


def soften(probabilities: NDArray[np.floating], num_top: int = 4, cell_px: int = 8) -> SoftLabels:
    """Averages a distribution over cells and keeps the most probable classes of each.

    Args:
        probabilities: [c h w], non-negative, sums to one over c.
        num_top: classes kept in a cell, 1 to 255; at most c are.
        cell_px: height and width of a cell, from 1.
    """
    num_classes = probabilities.shape[0]
    if not 1 <= num_classes <= 255 or num_top < 1 or cell_px < 1:
        raise UsageError(
            f"Soft labels: got {num_classes} classes, num_top {num_top} and cell_px {cell_px}; expected 1 to 255 "
            "classes, and num_top and cell_px of at least 1."
        )
    mean = _cell_means(probabilities, cell_px)
    classes = np.argsort(-mean, axis=0, kind="stable")[: min(num_top, num_classes)]
    kept = np.take_along_axis(mean, classes, axis=0)
    rest = np.maximum(1.0 - kept.sum(axis=0, keepdims=True), 0.0)
    if len(classes) == num_classes:
        rest = np.zeros_like(rest)
    weights = _quantised(np.concatenate([kept, rest]))[:-1]
    return SoftLabels(classes.astype(np.uint8), weights.astype(np.uint8), num_classes, cell_px)


def _cell_means(probabilities: NDArray[np.floating], cell_px: int) -> NDArray[np.float64]:
    sums = probabilities.astype(np.float64)
    for axis in (1, 2):
        sums = np.add.reduceat(sums, np.arange(0, probabilities.shape[axis], cell_px), axis=axis)
    total = sums.sum(axis=0, keepdims=True)
    if not np.isfinite(total).all() or (total <= 0).any():
        raise UsageError("Soft labels: the probabilities are not finite or sum to zero in a cell; expected a softmax.")
    return sums / total


def _quantised(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Integers that sum to 255 over the first axis, each less than one from 255 times its share."""
    scaled = shares / shares.sum(axis=0, keepdims=True) * SCALE
    # A share of the rest that is zero must stay zero, so whole numbers may not fall a hair below themselves.
    floors = np.floor(scaled + 1e-9)
    lacking = SCALE - floors.sum(axis=0, keepdims=True)
    rank = np.argsort(np.argsort(floors - scaled, axis=0, kind="stable"), axis=0, kind="stable")
    return (floors + (rank < lacking)).astype(np.int64)


def soft_bytes(soft: SoftLabels) -> bytes:
    """The soft labels as a safetensors file; the same bytes from the same labels."""
    # One key only: the order of several in the header is not fixed by the format's writer.
    facts = json.dumps({"cell_px": soft.cell_px, "num_classes": soft.num_classes}, sort_keys=True)
    arrays = {"classes": np.ascontiguousarray(soft.classes), "weights": np.ascontiguousarray(soft.weights)}
    return save(arrays, metadata={"d3s2_soft": facts})


def soft_from_bytes(content: bytes, where: str) -> SoftLabels:
    """Reads what `soft_bytes` wrote; raises StoreError naming `where`."""
    try:
        arrays = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = json.loads(header["__metadata__"]["d3s2_soft"])
        soft = SoftLabels(arrays["classes"], arrays["weights"], int(facts["num_classes"]), int(facts["cell_px"]))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{where}: cannot be read as soft labels ({error}); is the file damaged?") from None
    if soft.classes.shape != soft.weights.shape or soft.classes.max(initial=0) >= soft.num_classes:
        raise StoreError(
            f"{where}: names a class outside 0..{soft.num_classes - 1}, or its arrays differ in shape; "
            "was it written by d3s2?"
        )
    if soft.weights.sum(axis=0, dtype=np.int64).max(initial=0) > SCALE:
        raise StoreError(f"{where}: holds a cell whose probabilities sum to more than one; is the file damaged?")
    return soft
