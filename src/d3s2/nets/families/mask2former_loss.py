"""Mask2Former's loss in which ignored pixels have no part: neither in the matching nor in what is learnt.

transformers carries an `ignore_value` that its loss does not read: an ignored pixel counts there as background of
every mask. Here each sampled point has a weight, its share of pixels that are not ignored. Without ignored pixels all
weights are 1 and the loss is transformers' own, for the same draws.

| name    | symbol | meaning                                                                   |
|---------|--------|---------------------------------------------------------------------------|
| logits  | x      | a query's mask at the sampled points                                      |
| labels  | y      | a class's mask there, bilinear, of the pixels that are not ignored         |
| weights | w      | 1 - the share of ignored pixels there                                     |
| bce     |        | sum w (softplus(x) - x y) / sum w                                         |
| dice    |        | 1 - (2 sum w s(x) y + 1) / (sum w s(x) + sum w y + 1), s the sigmoid      |

Source: arXiv 2112.01527, section 3.3; sampling of points by uncertainty: arXiv 1912.08193.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.runtime import unreduced
from d3s2.base.train_ids import IGNORE

SMALLEST_WEIGHT = 1e-6

Layers = Sequence[tuple[Tensor, Tensor]]
"""Class logits [b, q, l] and mask logits [b, q, y, x] that each of several layers predicts."""

Pairs = list[tuple[Tensor, Tensor]]
"""For each image the matched queries and the classes (positions in its list) that they are matched with."""


@dataclass(frozen=True)
class Targets:
    """What a batch of masks asks for.

    Args:
        classes: for each image, the classes present.
        masks: for each image, one binary mask a class present; 0 where the mask is ignored.
        ignored: 1 where a pixel has no part in the loss.
    """

    classes: list[Int64[Tensor, "..."]]
    masks: list[Float[Tensor, "_n h w"]]
    ignored: Float[Tensor, "b 1 h w"]


def mask2former_loss(
    network: Any, pixels: Float[Tensor, "b 3 y x"], masks: UInt8[Tensor, "b h w"]
) -> tuple[Float[Tensor, ""], Any]:
    """The weighted sum of class, mask and dice losses over all layers of the decoder."""
    output = network(pixels, output_auxiliary_logits=True)
    layers = [
        (output.class_queries_logits, output.masks_queries_logits),
        *((aux["class_queries_logits"], aux["masks_queries_logits"]) for aux in output.auxiliary_logits),
    ]
    return layers_loss(network, layers, masks), output


def layers_loss(network: Any, layers: Layers, masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """The sum of the losses of all layers' predictions.

    Images without a single pixel that counts have no part; 0 where that is all of them.

    Args:
        network: with Mask2Former's `criterion` and `weight_dict`.
        layers: in the order in which transformers draws their points.
    """
    seen = (masks != IGNORE).flatten(1).any(dim=1)
    if not bool(seen.any()):
        return torch.stack([0 * (classes.float().sum() + queries.float().sum()) for classes, queries in layers]).sum()
    targets = read_targets(masks[seen])
    with unreduced(masks.device):
        losses = [
            layer_loss(network, classes[seen].float(), queries[seen].float(), targets) for classes, queries in layers
        ]
    return torch.stack(losses).sum()


def read_targets(masks: UInt8[Tensor, "b h w"]) -> Targets:
    """Binary masks of the classes present."""
    classes = [values[values != IGNORE].long() for values in (mask.unique() for mask in masks)]
    binary = [(mask == present[:, None, None]).float() for mask, present in zip(masks, classes, strict=True)]
    return Targets(classes, binary, (masks == IGNORE).float()[:, None])


def layer_loss(
    network: Any,
    class_logits: Float[Tensor, "b q l"],
    mask_logits: Float[Tensor, "b q y x"],
    targets: Targets,
) -> Float[Tensor, ""]:
    """The loss of one layer of the decoder; its weights and numbers of points are those of the network's config."""
    criterion, weights = network.criterion, network.weight_dict
    pairs = match(criterion.matcher, class_logits, mask_logits, targets)
    num_masks = criterion.get_num_masks(targets.classes, device=class_logits.device)
    mask_loss, dice_loss = _mask_losses(criterion, mask_logits, targets, pairs, num_masks)
    class_loss = criterion.loss_labels(class_logits, targets.classes, pairs)["loss_cross_entropy"]
    return (
        weights["loss_cross_entropy"] * class_loss + weights["loss_mask"] * mask_loss + weights["loss_dice"] * dice_loss
    )


@torch.no_grad()
def match(
    matcher: Any, class_logits: Float[Tensor, "b q l"], mask_logits: Float[Tensor, "b q y x"], targets: Targets
) -> Pairs:
    """Assigns one query to each class present, by the cheapest sum of class, mask and dice costs."""
    pairs: Pairs = []
    for index, (classes, masks) in enumerate(zip(targets.classes, targets.masks, strict=True)):
        points = torch.rand(1, matcher.num_points, 2, device=mask_logits.device)
        logits = sample(mask_logits[index][None], points)[0]  # [q, p]
        weights = _weights(targets.ignored[index][None], points)  # [1, p]
        labels = _share(sample(masks[None], points)[0], weights)  # [n, p]
        cost = (
            matcher.cost_mask * _pairwise_bce(logits, labels, weights)
            + matcher.cost_dice * _pairwise_dice(logits, labels, weights)
            - matcher.cost_class * class_logits[index].softmax(dim=-1)[:, classes]
        )
        limit = torch.finfo(cost.dtype).max
        rows, columns = linear_sum_assignment(torch.nan_to_num(cost, limit, limit, limit).cpu().numpy())
        pairs.append((torch.from_numpy(rows), torch.from_numpy(columns)))
    return pairs


def _pairwise_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    shares = weights / weights.sum().clamp(min=SMALLEST_WEIGHT)
    return (F.softplus(-logits) * shares) @ labels.T + (F.softplus(logits) * shares) @ (1 - labels).T


def _pairwise_dice(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    probabilities = logits.sigmoid() * weights
    both = 2 * probabilities @ labels.T
    return 1 - (both + 1) / (probabilities.sum(dim=1)[:, None] + (labels * weights).sum(dim=1) + 1)


def _mask_losses(
    criterion: Any, mask_logits: Tensor, targets: Targets, pairs: Pairs, num_masks: Tensor
) -> tuple[Tensor, Tensor]:
    logits = torch.cat(
        [queries[rows.to(queries.device)] for queries, (rows, _) in zip(mask_logits, pairs, strict=True)]
    )
    masks = torch.cat([m[columns.to(m.device)] for m, (_, columns) in zip(targets.masks, pairs, strict=True)])
    counts = torch.tensor([len(rows) for rows, _ in pairs], device=logits.device)
    ignored = targets.ignored.repeat_interleave(counts, dim=0)
    logits, masks = logits[:, None], masks[:, None]
    with torch.no_grad():
        points = uncertain_points(criterion, logits, ignored)
        weights = _weights(ignored, points)
        labels = _share(sample(masks, points)[:, 0], weights)
    x = sample(logits, points)[:, 0]
    total = weights.sum(dim=1).clamp(min=SMALLEST_WEIGHT)
    bce = (F.binary_cross_entropy_with_logits(x, labels, reduction="none") * weights).sum(dim=1) / total
    probabilities, wanted = x.sigmoid() * weights, labels * weights
    both = 2 * (probabilities * labels).sum(dim=1)
    dice = 1 - (both + 1) / (probabilities.sum(dim=1) + wanted.sum(dim=1) + 1)
    return bce.sum() / num_masks, dice.sum() / num_masks


def uncertain_points(
    criterion: Any, logits: Float[Tensor, "n 1 y x"], ignored: Float[Tensor, "n 1 h w"]
) -> Float[Tensor, "n p 2"]:
    """Points where a mask is least sure, and some at random; one inside ignored pixels is never called unsure."""
    count = len(logits)
    drawn = torch.rand(count, int(criterion.num_points * criterion.oversample_ratio), 2, device=logits.device)
    doubt = -sample(logits, drawn)[:, 0].abs()
    doubt = doubt.masked_fill(_weights(ignored, drawn) == 0, -torch.inf)
    num_unsure = int(criterion.importance_sample_ratio * criterion.num_points)
    chosen = doubt.topk(num_unsure, dim=1).indices
    unsure = drawn.gather(1, chosen[..., None].expand(-1, -1, 2))
    others = torch.rand(count, criterion.num_points - num_unsure, 2, device=logits.device)
    return torch.cat([unsure, others], dim=1)


def sample(
    maps: Float[Tensor, "n c h w"], points: Float[Tensor, "n p 2"], outside: Literal["zeros", "border"] = "zeros"
) -> Float[Tensor, "n c p"]:
    """Bilinear values at points (x, y) in 0..1; `outside` is what the neighbours beyond the edge count as."""
    return F.grid_sample(maps, (2 * points - 1)[:, :, None], padding_mode=outside, align_corners=False)[..., 0]


def _weights(ignored: Tensor, points: Tensor) -> Tensor:
    weights = 1 - sample(ignored, points, outside="border")[:, 0]
    return weights.masked_fill(weights < SMALLEST_WEIGHT, 0)


def _share(labels: Tensor, weights: Tensor) -> Tensor:
    """Labels at points as a share of the pixels there that are not ignored."""
    return (labels / weights.clamp(min=SMALLEST_WEIGHT)).clamp(max=1)
