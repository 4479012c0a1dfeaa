"""The compact U-Net: a segmentation network that trains in seconds on small images and two cores.

The image is packed 2 x 2 into channels, so that every convolution runs at half resolution or less, and the scores are
unpacked the same way: thin objects keep their pixels at a quarter of the cost. Group normalisation has no state that
depends on a batch, so the network as a frozen judge is a plain differentiable function.

Source: U-Net (arXiv 1505.04597); sub-pixel convolution (arXiv 1609.05158).
"""

from typing import Any, cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.nets.architectures import UNET_GROUPS
from d3s2.nets.inputs.padding import edge_padded
from d3s2.nets.segmenter import Segmentation
from d3s2.nets.trainable import BACKBONE_LR_SHARE, SoftTargets, group_parameters, pixel_loss

PACK = 2
NUM_LEVELS = 4


class CompactUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A `Segmenter` and a `Trainable`. Sizes need not divide by anything: images are padded inside.

    Args:
        num_classes: classes of the label space.
        width: channels of the finest level, a multiple of 8; levels have 1, 2, 3 and 4 times as many.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        widths = [width * factor for factor in range(1, NUM_LEVELS + 1)]
        self.num_classes = num_classes
        self.stem = nn.Conv2d(3 * PACK**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(w if i == 0 else widths[i - 1], w) for i, w in enumerate(widths))
        self.up = nn.ModuleList(Block(widths[i] + widths[i + 1], widths[i]) for i in range(NUM_LEVELS - 1))
        self.head = nn.Conv2d(widths[0], num_classes * PACK**2, 1)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Segmentation:
        height, width = images.shape[-2:]
        multiple = PACK * 2 ** (NUM_LEVELS - 1)
        padded = edge_padded(images, right=-width % multiple, bottom=-height % multiple)
        x = self.stem(F.pixel_unshuffle((padded - 0.5) / 0.25, PACK))
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        features = {f"down{level}": skip for level, skip in enumerate(skips)}
        for level in reversed(range(NUM_LEVELS - 1)):
            x = self.up[level](torch.cat([skips[level], F.interpolate(x, scale_factor=2.0)], dim=1))
            features[f"up{level}"] = x
        scores = F.pixel_shuffle(self.head(x), PACK)
        return Segmentation(scores=scores[..., :height, :width], features=features)

    def loss(
        self, images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets | None = None
    ) -> Float[Tensor, ""]:
        return pixel_loss(self(images).scores, masks, soft)

    def parameter_groups(
        self, lr: float, weight_decay: float, backbone_share: float = BACKBONE_LR_SHARE
    ) -> list[dict[str, Any]]:
        return group_parameters(self, lr, weight_decay)


class Block(nn.Module):
    """Two convolutions with a residual path."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(UNET_GROUPS, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(UNET_GROUPS, channels_out)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = F.silu(self.norm1(self.conv1(x)))
        y = F.silu(self.norm2(self.conv2(y)))
        return cast(Tensor, y + self.skip(x))
