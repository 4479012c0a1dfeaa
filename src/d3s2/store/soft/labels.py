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
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import save
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.json_text import parse_json
from d3s2.base.formats.records import RECORD, record_from
from d3s2.base.formats.tensors import require, tensors_from_bytes
from d3s2.base.machine.moving import to_host

FACTS = "d3s2_soft"
ADVICE = "is the file damaged? `d3s2 verify` lists every such file"
SCALE = 255
CELLS_ACROSS = 64
NUM_TOP = 4
ERROR_BOUND = 1 / SCALE
"""Each kept probability is off by less than this."""


@dataclass(frozen=True)
class SoftFacts:
    """What the header of a file of soft labels says; see SoftLabels."""

    __pydantic_config__ = RECORD

    cell_px: Annotated[int, Field(ge=1, le=65535)]
    num_classes: Annotated[int, Field(ge=1, le=255)]


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


def cell_px_for(size_px: tuple[int, int]) -> int:
    """Side of a cell that suits a picture: a 64th of its smaller side, at least 1 px.

    What a cell of 4 px blurs is little of a picture of 512 px and whole objects of one of 64 px, where students learn
    less from such cells than from the mask alone (docs/distilled-set.md has the figures).
    """
    return max(1, min(size_px) // CELLS_ACROSS)


def soften(probabilities: Float[Tensor, "c h w"], num_top: int = NUM_TOP, cell_px: int | None = None) -> SoftLabels:
    """Averages a distribution over cells and keeps the most probable classes of each.

    Args:
        probabilities: non-negative, sums to one over c. Pixels stay where they lie; of a card cells alone come back.
        num_top: classes kept in a cell, 1 to 255; at most c are.
        cell_px: height and width of a cell, from 1; None takes what suits the picture.
    """
    num_classes, height, width = probabilities.shape
    cell_px = cell_px_for((height, width)) if cell_px is None else cell_px
    if not 1 <= num_classes <= 255 or num_top < 1 or cell_px < 1:
        raise UsageError(
            f"Soft labels: got {num_classes} classes, num_top {num_top} and cell_px {cell_px}; expected 1 to 255 "
            "classes, and num_top and cell_px of at least 1."
        )
    totals, *ordered = _ordered_means(probabilities, cell_px)
    kept, classes = (to_host(table[:num_top]).numpy() for table in ordered)
    _require_distribution(to_host(totals).numpy())
    rest = np.maximum(1.0 - kept.sum(axis=0, keepdims=True), 0.0)
    if len(classes) == num_classes:
        rest = np.zeros_like(rest)
    weights = _quantised(np.concatenate([kept, rest]))[:-1]
    return SoftLabels(classes.astype(np.uint8), weights.astype(np.uint8), num_classes, cell_px)


def _ordered_means(
    probabilities: Float[Tensor, "c h w"], cell_px: int
) -> tuple[Float64[Tensor, "1 y x"], Float64[Tensor, "c y x"], Int64[Tensor, "c y x"]]:
    """What each cell sums to in all; its classes' shares of that, the largest first, and which classes they are."""
    sums = F.avg_pool2d(probabilities.double(), cell_px, ceil_mode=True, divisor_override=1)
    totals = sums.sum(dim=0, keepdim=True)
    shares, classes = (sums / totals).sort(dim=0, descending=True, stable=True)
    return totals, shares, classes


def _require_distribution(totals: NDArray[np.float64]) -> None:
    if not np.isfinite(totals).all() or (totals <= 0).any():
        raise UsageError("Soft labels: the probabilities are not finite or sum to zero in a cell; expected a softmax.")


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
    return save(arrays, metadata={FACTS: facts})


def soft_from_bytes(content: bytes, where: str) -> SoftLabels:
    """Reads what `soft_bytes` wrote; raises StoreError naming `where`."""
    tensors, metadata = tensors_from_bytes(content, where, "soft labels", ADVICE)
    stored = parse_json(metadata.get(FACTS, "null"), f"{where}: {FACTS}", ADVICE)
    facts: SoftFacts = record_from(stored, SoftFacts, f"{where}: {FACTS}", ADVICE)
    try:
        classes, weights = (require(tensors, name, torch.uint8, 3).numpy() for name in ("classes", "weights"))
    except ValueError as problem:
        raise StoreError(f"{where}: cannot be read as soft labels ({problem}); {ADVICE}.") from None
    soft = SoftLabels(classes, weights, facts.num_classes, facts.cell_px)
    if soft.classes.shape != soft.weights.shape or soft.classes.max(initial=0) >= soft.num_classes:
        raise StoreError(
            f"{where}: names a class outside 0..{soft.num_classes - 1}, or its arrays differ in shape; "
            "was it written by d3s2?"
        )
    if len(classes) > soft.num_classes:
        raise StoreError(f"{where}: keeps {len(classes)} of {soft.num_classes} classes in a cell; {ADVICE}.")
    if soft.weights.sum(axis=0, dtype=np.int64).max(initial=0) > SCALE:
        raise StoreError(f"{where}: holds a cell whose probabilities sum to more than one; is the file damaged?")
    return soft
