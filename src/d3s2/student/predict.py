"""Prediction and scoring of a trained network on a split."""

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from d3s2.data.pairs import PairSource, in_order, to_unit
from d3s2.metrics import confusion_matrix
from d3s2.nets.segmenter import Segmenter


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


def score(
    net: Segmenter, pairs: PairSource, *, device: torch.device, batch: int = 16, autocast: torch.dtype | None = None
) -> Int64[np.ndarray, "c c"]:
    """The confusion matrix of a network over a split, a batch at a time."""
    confusion = np.zeros((net.num_classes, net.num_classes), dtype=np.int64)
    for chunk in pairs.batches(in_order(len(pairs), batch)):
        predicted = predict(net, chunk.images, device=device, batch=batch, autocast=autocast)
        confusion += confusion_matrix(predicted, chunk.masks, net.num_classes)
    return confusion
