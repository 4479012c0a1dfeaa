"""Prediction and scoring of a trained network on a split."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from d3s2.data.pairs import PairSource, in_order, to_unit
from d3s2.metrics import boundary_counts, confusion_matrix
from d3s2.nets.segmenter import Segmenter


@dataclass(frozen=True)
class Counts:
    """What a network got right over a split, in pixels; sums over images.

    Args:
        confusion: of (true class, predicted class).
        boundary: near contours: shared, of the truth, of the prediction, by class.
    """

    confusion: Int64[np.ndarray, "c c"]
    boundary: Int64[np.ndarray, "3 c"]


def predict(
    net: Segmenter,
    images: UInt8[Tensor, "n 3 h w"],
    *,
    device: torch.device,
    batch: int = 16,
    autocast: torch.dtype | None = None,
) -> UInt8[Tensor, "n h w"]:
    """The most likely class of each pixel of RGB images in 0..255."""
    predicted = []
    for chunk in images.split(batch):
        with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            scores = net(to_unit(chunk).to(device)).scores
        predicted.append(scores.argmax(dim=1).to(torch.uint8).cpu())
    return torch.cat(predicted)


def measure(
    net: Segmenter, pairs: PairSource, *, device: torch.device, batch: int = 16, autocast: torch.dtype | None = None
) -> Counts:
    """The counts of a network over a split, a batch at a time; every score follows from them."""
    confusion = np.zeros((net.num_classes, net.num_classes), dtype=np.int64)
    boundary = np.zeros((3, net.num_classes), dtype=np.int64)
    for chunk in pairs.batches(in_order(len(pairs), batch)):
        predicted = predict(net, chunk.images, device=device, batch=batch, autocast=autocast)
        confusion += confusion_matrix(predicted, chunk.masks, net.num_classes)
        boundary += boundary_counts(predicted, chunk.masks, net.num_classes)
    return Counts(confusion, boundary)


def score(
    net: Segmenter, pairs: PairSource, *, device: torch.device, batch: int = 16, autocast: torch.dtype | None = None
) -> Int64[np.ndarray, "c c"]:
    """The confusion matrix of a network over a split."""
    return measure(net, pairs, device=device, batch=batch, autocast=autocast).confusion
