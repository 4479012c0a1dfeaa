"""Scoring at the size of the real masks, as benchmarks of the field do.

A picture is scaled as for training, but neither cut nor padded; the network's logits are brought to the size of its
mask bilinearly (half-pixel centres), and the most likely class of each pixel is counted there. So every labelled pixel
of the split is scored, whatever the working size.
"""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.data.dataset import ResizedDataset, read_pair
from d3s2.data.pairs import in_order, read_ahead
from d3s2.metrics.counting import boundary_counts, confusion_matrix
from d3s2.metrics.metric import Counts
from d3s2.nets.segmenter import Segmenter
from d3s2.student.group import ALONE, Group
from d3s2.student.predict import scores_of
from d3s2.student.settings import SlidingWindowSettings


def measure_native(
    net: Segmenter,
    data: ResizedDataset,
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
    sliding: SlidingWindowSettings | None = None,
    group: Group = ALONE,
) -> Counts:
    """The counts of a network over a split at the size of its masks, a picture at a time.

    Args:
        data: the split at the working size, whose source holds pictures and masks as they are.
        group: processes that share the pictures out among them; each gets the counts of all.
    """
    num_classes, ids = net.num_classes, data.ids
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    boundary = np.zeros((3, num_classes), dtype=np.int64)

    def read(position: int) -> tuple[UInt8[np.ndarray, "a b 3"], UInt8[np.ndarray, "h w"]]:
        image, mask = read_pair(data.source, ids[position])
        return data.scaled_image(image), mask

    for ((image, mask),) in read_ahead(read, in_order(len(ids), 1)[group.index :: group.size]):
        truth = torch.from_numpy(np.array(mask))[None].to(device)
        predicted = native_classes(net, image, (mask.shape[0], mask.shape[1]), device, autocast, sliding)
        confusion += confusion_matrix(predicted, truth, num_classes)
        boundary += boundary_counts(predicted, truth, num_classes)
    return Counts(group.sum(confusion), group.sum(boundary))


def native_classes(
    net: Segmenter,
    image: UInt8[np.ndarray, "a b 3"],
    size_px: tuple[int, int],
    device: torch.device,
    autocast: torch.dtype | None = None,
    sliding: SlidingWindowSettings | None = None,
) -> UInt8[Tensor, "1 h w"]:
    """The most likely class of each pixel of a mask of `size_px`, from a picture of another size."""
    seen = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    scores = scores_of(net, seen, device, autocast, sliding).float()
    return F.interpolate(scores, size=size_px, mode="bilinear", align_corners=False).argmax(dim=1).to(torch.uint8)
