"""The seam that every layout-to-image model keeps, so that a stage uses any of them alike.

A new generator is one file with a settings record and a function that loads it, and one line in `GENERATORS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.config import Config
from d3s2.data.label_space import LabelSpace
from d3s2.generator.compact.adapter import CompactSettings, load_compact
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.stable_diffusion.controlnet import ControlNetSettings, load_controlnet
from d3s2.generator.stable_diffusion.freestyle import FreestyleSettings, load_freestyle


@runtime_checkable
class Generator(Protocol):
    """A layout-to-image model: masks in, images out, by way of latents that a sampler walks through."""

    @property
    def scheduler(self) -> SchedulerMixin:
        """The noise schedule that the model was fitted for; `levels_of` reads it."""

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        """(channels, height, width) of the latent of an image of (height, width) px.

        Raises:
            ModelError: a size that the model cannot make, with the nearest that it can.
        """

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        """The model as a `Denoiser` for these masks; the condition is made here, once.

        Args:
            masks: train ids, 255 ignored, at the size of the images.
            guidance_scale: of classifier-free guidance; 1 is the plain conditional model.
        """

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        """RGB images, 0..1 where the model keeps to it (not clamped), differentiable.

        Args:
            latents: clean ones, x0.
            for_guidance: use the cheaper decoder, where the generator has one.
        """

    def as_record(self) -> dict[str, Any]:
        """What a manifest keeps of the model: kind, source, settings, digests of the weights."""


@dataclass(frozen=True)
class Loader:
    """How one kind of generator is made.

    Args:
        settings: the record that a recipe's `generator` block is validated into (`base.config.build`).
        load: (settings, label space, device) -> generator; raises ModelError where the weights are missing or do
            not fit the label space.
    """

    settings: type[Config]
    load: Callable[[Any, LabelSpace, torch.device], Generator]


GENERATORS: dict[str, Loader] = {
    "compact": Loader(CompactSettings, load_compact),
    "controlnet": Loader(ControlNetSettings, load_controlnet),
    "freestyle": Loader(FreestyleSettings, load_freestyle),
}
