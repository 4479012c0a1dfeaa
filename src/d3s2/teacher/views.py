"""Random views of images and their masks: shifted, mirrored, with noise upon them.

A gradient can lower a network's loss by texture that no eye sees. Such texture does not survive small shifts, mirroring
and noise, so the energy that guides is taken on randomly perturbed views: what lowers it has to be in the picture.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_device
from d3s2.base.train_ids import IGNORE
from d3s2.nets.inputs import edge_padded
from d3s2.teacher.settings import ViewSettings


def perturbed(
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    views: ViewSettings,
    generators: Sequence[torch.Generator],
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
