"""Prediction and scoring of a trained network on a split."""

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_device
from d3s2.base.machine.runtime import reduced
from d3s2.base.pixels import to_unit
from d3s2.data import PairSource, in_order
from d3s2.metrics import Counts, boundary_counts, confusion_matrix
from d3s2.nets import Segmenter
from d3s2.student.group import ALONE, Group
from d3s2.student.settings import SlidingWindowSettings


def predict(
    net: Segmenter,
    images: UInt8[Tensor, "n 3 h w"],
    *,
    device: torch.device,
    batch: int = 16,
    autocast: torch.dtype | None = None,
    sliding: SlidingWindowSettings | None = None,
) -> UInt8[Tensor, "n h w"]:
    """The most likely class of each pixel of RGB images in 0..255; whole images at once where `sliding` is None.

    Examples:
        >>> import torch
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.student import predict
        >>> net = new_segmenter("compact-unet", 5, seed=0, width=8).eval()
        >>> predict(net, torch.zeros(2, 3, 32, 48, dtype=torch.uint8), device=torch.device("cpu")).shape
        torch.Size([2, 32, 48])
    """
    return torch.cat([_classes(net, chunk, device, autocast, sliding).cpu() for chunk in images.split(batch)])


def _classes(
    net: Segmenter,
    images: UInt8[Tensor, "n 3 h w"],
    device: torch.device,
    autocast: torch.dtype | None,
    sliding: SlidingWindowSettings | None,
) -> UInt8[Tensor, "n h w"]:
    """The same of one batch, left on the device."""
    return scores_of(net, images, device, autocast, sliding).argmax(dim=1).to(torch.uint8)


def scores_of(
    net: Segmenter,
    images: UInt8[Tensor, "n 3 h w"],
    device: torch.device,
    autocast: torch.dtype | None,
    sliding: SlidingWindowSettings | None,
) -> Float[Tensor, "n c h w"]:
    """Scores of each class before the softmax of one batch, left on the device."""
    with torch.no_grad(), reduced(device, autocast):
        unit = to_unit(to_device(images, device))
        return net(unit).scores if sliding is None else sliding_scores(net, unit, sliding)


def sliding_scores(
    net: Segmenter, images: Float[Tensor, "n 3 h w"], how: SlidingWindowSettings
) -> Float[Tensor, "n c h w"]:
    """Scores of RGB images in 0..1, averaged in float32 over the windows that see a pixel."""
    height, width = images.shape[-2:]
    down, across = (max(0, window - side) for window, side in zip(how.window_px, (height, width), strict=True))
    padded = F.pad(images, (0, across, 0, down), mode="replicate")
    total = padded.new_zeros(len(images), net.num_classes, *padded.shape[-2:])
    seen = padded.new_zeros(padded.shape[-2:])
    for top in _starts(padded.shape[-2], how.window_px[0], how.stride_px[0]):
        for left in _starts(padded.shape[-1], how.window_px[1], how.stride_px[1]):
            rows, columns = slice(top, top + how.window_px[0]), slice(left, left + how.window_px[1])
            total[..., rows, columns] += net(padded[..., rows, columns]).scores.float()
            seen[rows, columns] += 1
    return (total / seen)[..., :height, :width]


def _starts(side_px: int, window_px: int, stride_px: int) -> list[int]:
    """Where windows begin: every stride, and the last one so that it ends at the edge."""
    last = side_px - window_px
    return [*range(0, last, stride_px), last]


def measure(
    net: Segmenter,
    pairs: PairSource,
    *,
    device: torch.device,
    batch: int = 16,
    autocast: torch.dtype | None = None,
    sliding: SlidingWindowSettings | None = None,
    group: Group = ALONE,
) -> Counts:
    """The counts of a network over a split, a batch at a time; every score follows from them.

    Args:
        group: processes that share the batches out among them; each gets the counts of all.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.data import open_pairs, open_split
        >>> from d3s2.metrics import mean_iou
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.student import measure
        >>> val = open_split(d3s2.load_run("scenes", ["data.options={count: 8}"]).data, "val")
        >>> net = new_segmenter("compact-unet", val.space.num_classes, seed=0, width=8)
        >>> counts = measure(net.eval(), open_pairs(val, val.ids), device=torch.device("cpu"))
        >>> 0 <= mean_iou(counts.confusion) <= 1
        True
    """
    confusion = np.zeros((net.num_classes, net.num_classes), dtype=np.int64)
    boundary = np.zeros((3, net.num_classes), dtype=np.int64)
    for chunk in pairs.batches(in_order(len(pairs), batch)[group.index :: group.size]):
        predicted, masks = _classes(net, chunk.images, device, autocast, sliding), to_device(chunk.masks, device)
        confusion += confusion_matrix(predicted, masks, net.num_classes)
        boundary += boundary_counts(predicted, masks, net.num_classes)
    return Counts(group.sum(confusion), group.sum(boundary))


def score(
    net: Segmenter, pairs: PairSource, *, device: torch.device, batch: int = 16, autocast: torch.dtype | None = None
) -> Int64[np.ndarray, "c c"]:
    """The confusion matrix of a network over a split.

    Examples:
        >>> import torch
        >>> from d3s2.data import Pairs
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.student import score
        >>> images, masks = (torch.zeros(2, *shape, dtype=torch.uint8) for shape in ((3, 32, 48), (32, 48)))
        >>> net = new_segmenter("compact-unet", 5, seed=0, width=8).eval()
        >>> int(score(net, Pairs(images, masks), device=torch.device("cpu")).sum()) == masks.numel()
        True
    """
    return measure(net, pairs, device=device, batch=batch, autocast=autocast).confusion
