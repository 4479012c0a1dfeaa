"""Settings of the training of a segmentation network: the protocol, the same for every set that is compared."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from d3s2.base.config import Config
from d3s2.base.ranges import LearningRate, NotNegative, Positive, Share, SidePx
from d3s2.nets import UNET_GROUPS

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Zoom = Annotated[float, Field(ge=0.01, le=100)]


class AugmentationSettings(Config):
    """What is varied in a training pair, and how far."""

    renamed: ClassVar[Mapping[str, str]] = {"light": "brightness_contrast"}

    flip: bool = True
    """Mirror half of the pairs."""
    zoom: tuple[Zoom, Zoom] = (0.75, 1.5)
    """Smallest and largest scale, drawn evenly in its logarithm; what comes in from outside is ignored."""
    crop_px: tuple[SidePx, SidePx] | None = None
    """Height and width of what is cut out of the zoomed pair, anywhere in it; what lies outside the picture is ignored.
    null keeps the working size."""
    shift: Share = 0.15
    """Largest shift as a share of the side; without effect where there is a crop."""
    brightness_contrast: Share = 0.25
    """Brightness and contrast vary by factors 1 +- this."""
    saturation: Share = 0.25
    """Saturation varies by factors 1 +- this."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest shift of the hue, as a share of the colour circle."""

    @model_validator(mode="after")
    def _ordered_zoom(self) -> "AugmentationSettings":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom must be [smallest, largest] scale")
        return self


class TrainSettings(Config):
    """Training of a segmentation network."""

    renamed: ClassVar[Mapping[str, str]] = {
        "light": "augmentation.brightness_contrast",
        **{key: f"augmentation.{key}" for key in ("flip", "zoom", "crop_px", "shift", "saturation", "hue")},
    }

    iterations: Positive
    """Optimiser steps, whatever the size of the set."""
    batch: Positive = 8
    """Pairs an iteration over all processes, drawn with replacement where the set is smaller."""
    lr: LearningRate = 2e-3
    """Peak of the learning rate."""
    width: Annotated[int, Field(ge=UNET_GROUPS, le=2**12, multiple_of=UNET_GROUPS)] = 16
    """Channels of the compact U-Net's finest level, a multiple of 8."""
    backbone_lr_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of `lr` at which the backbone of a network of transformers learns; 1 suits one from scratch. A compact
    U-Net has none."""
    weight_decay: NotNegative = 0.01
    """Of AdamW; norms and embeddings do not decay."""
    warmup_share: Share = 0.05
    """Share of the iterations over which the rate rises; at least one step."""
    poly_power: Annotated[float, Field(gt=0, le=100)] = 0.9
    """Of the polynomial decay to 0 that follows."""
    clip_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Largest norm of a step's gradient."""
    accumulate: Positive = 1
    """Parts of a device's share of a batch that go through the network one after another: less memory, for pixel losses
    the same step."""
    precision: Precision = "auto"
    """Of the network in training and prediction; auto is bfloat16 where the device does it well; float16
    has loss scaling, losses are float32."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """What is varied in a pair, and how far."""


class SlidingWindowSettings(Config):
    """Prediction in windows that overlap, their logits averaged."""

    window_px: tuple[SidePx, SidePx]
    """Height and width; a smaller picture is padded to it."""
    stride_px: tuple[SidePx, SidePx]
    """Down and across, from one window to the next; at most the window; the last one ends at the picture's edge."""

    @model_validator(mode="after")
    def _no_gaps(self) -> "SlidingWindowSettings":
        if any(stride > window for stride, window in zip(self.stride_px, self.window_px, strict=True)):
            raise ValueError("stride_px is larger than window_px, so that pixels would be left out")
        return self
