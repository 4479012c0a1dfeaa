"""The teacher as judge of a batch of images against their masks: both losses, made hard to fool.

A gradient can lower a network's loss by texture that no eye sees. Such texture does not survive small shifts, mirroring
and noise, so the energy that guides is taken on randomly perturbed views: what lowers it has to be in the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.moving import to_device
from d3s2.base.train_ids import IGNORE
from d3s2.nets.padding import edge_padded
from d3s2.nets.segmenter import Segmentation, Segmenter
from d3s2.teacher.bank import FeatureBank
from d3s2.teacher.energies import feature_matching, segmentation_consistency


@dataclass(frozen=True)
class Views:
    """How images are perturbed before they are judged.

    Args:
        count: perturbed views whose energies are averaged; 0 judges the image as it is.
        shift_px: largest shift along each axis.
        noise: standard deviation of added noise, images in 0..1.
        flip: mirror half of the views.
    """

    count: int = 1
    shift_px: int = 4
    noise: float = 0.03
    flip: bool = True


@dataclass(frozen=True)
class Losses:
    """Both losses, one number an item."""

    l_seg: Float[Tensor, " b"]
    l_feat: Float[Tensor, " b"]

    def weighted(self, seg_weight: float, feat_weight: float) -> Float[Tensor, " b"]:
        """The energy L = seg_weight L_seg + feat_weight L_feat."""
        return seg_weight * self.l_seg + feat_weight * self.l_feat


def judge(
    teacher: Segmenter,
    bank: FeatureBank | None,
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    *,
    by_class: bool = True,
) -> Losses:
    """Both losses of images (0..1) against their masks; without a bank L_feat is 0."""
    return losses_of(teacher(images), bank, masks, by_class=by_class)


def losses_of(
    seen: Segmentation, bank: FeatureBank | None, masks: UInt8[Tensor, "b h w"], *, by_class: bool = True
) -> Losses:
    """Both losses of what the teacher saw."""
    l_seg = segmentation_consistency(seen.scores.float(), masks, by_class=by_class)
    if bank is None:
        return Losses(l_seg, torch.zeros_like(l_seg))
    return Losses(l_seg, feature_matching(seen.features, masks, bank.means, bank.deviations))


def judge_views(
    teacher: Segmenter,
    bank: FeatureBank | None,
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    views: Views,
    generators: Sequence[torch.Generator],
    *,
    by_class: bool = True,
) -> Losses:
    """The losses averaged over perturbed views; each item perturbs from its own generator."""
    if views.count == 0:
        return judge(teacher, bank, images, masks, by_class=by_class)
    drawn = [perturbed(images, masks, views, generators) for _ in range(views.count)]
    seen = judge(
        teacher, bank, torch.cat([view[0] for view in drawn]), torch.cat([view[1] for view in drawn]), by_class=by_class
    )
    per_view = (views.count, len(images))
    return Losses(seen.l_seg.reshape(per_view).mean(dim=0), seen.l_feat.reshape(per_view).mean(dim=0))


def perturbed(
    images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], views: Views, generators: Sequence[torch.Generator]
) -> tuple[Float[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"]]:
    """One randomly shifted, mirrored and noisy view of each pair; pixels shifted in from outside are ignored.

    What is random is drawn on the CPU and done on the device of the images, which is not waited for.
    """
    height, width = masks.shape[-2:]
    margin = views.shift_px
    wide_images = edge_padded(images, left=margin, right=margin, top=margin, bottom=margin)
    wide_masks = F.pad(masks, (margin,) * 4, value=IGNORE)
    seen_images, seen_masks, noises = [], [], []
    for index, generator in enumerate(generators):
        top, left = torch.randint(0, 2 * margin + 1, (2,), generator=generator).tolist()
        mirror = views.flip and bool(torch.rand((), generator=generator) < 0.5)
        noises.append(torch.randn(images.shape[1:], generator=generator))
        image = wide_images[index, :, top : top + height, left : left + width]
        mask = wide_masks[index, top : top + height, left : left + width]
        seen_images.append(image.flip(-1) if mirror else image)
        seen_masks.append(mask.flip(-1) if mirror else mask)
    noise = to_device(torch.stack(noises), images.device).to(images.dtype) * views.noise
    return torch.stack(seen_images) + noise, torch.stack(seen_masks)


def agreement(scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Share of the scored pixels where the teacher's first choice is the mask's class, 0..1; 1 where none is scored."""
    scored = masks != IGNORE
    right = (scores.argmax(dim=1).to(masks.dtype) == masks) & scored
    return torch.where(scored.any(dim=(1, 2)), right.sum(dim=(1, 2)) / scored.sum(dim=(1, 2)).clamp(min=1), 1.0)
