"""The compact generator behind the seam of all generators: its latent is the image itself, in -1..1."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.config import Config
from d3s2.base.files import sha256_file
from d3s2.data.label_space import LabelSpace
from d3s2.generator.compact import CompactGenerator, bind, load_generator
from d3s2.generator.denoiser import Denoiser


class CompactSettings(Config):
    """Settings of the compact generator.

    Args:
        model: the folder that `d3s2 fit` wrote.
    """

    model: Path


@dataclass(frozen=True)
class CompactAdapter:
    """A fitted compact generator as a `Generator`.

    Args:
        model: the network, in float32, on its device.
        scheduler: of flow matching.
        source: the folder it came from; None for one that was never stored.
    """

    model: CompactGenerator
    scheduler: SchedulerMixin
    source: Path | None = None

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        self.model.require_size(*size_px)
        return (self.model.image_channels, *size_px)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        self.model.require_size(*masks.shape[1:])
        return bind(self.model, masks.to(self.model.device), guidance_scale)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        return (latents + 1) / 2

    def as_record(self) -> dict[str, Any]:
        weights = sorted(self.source.glob("*.safetensors")) if self.source else []
        return {
            "kind": "compact",
            "model": str(self.source) if self.source else None,
            "weights_sha256": {path.name: sha256_file(path) for path in weights},
        }


def load_compact(settings: CompactSettings, space: LabelSpace, device: torch.device) -> CompactAdapter:
    """The fitted model in `settings.model`; raises ModelError where it is missing or has other classes."""
    model, scheduler = load_generator(settings.model, space.num_classes)
    model.to(device)
    return CompactAdapter(model, scheduler, settings.model)
