"""A text-to-image family with a ControlNet as a `LayoutToImage`; what differs between families is a `Family`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from d3s2.base.errors import ModelError
from d3s2.generator.autoencoders import Decoders, encode, latent_shape
from d3s2.generator.compute import DTYPES, prepared
from d3s2.generator.conditions.conditioning import Conditioning
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.predictions import Predict, denoiser_of
from d3s2.generator.text_to_image.settings import TextToImageSettings
from d3s2.generator.text_to_image.text import Text, TextEncoder
from d3s2.hub import load_files, load_part, sha256_weights
from d3s2.model_cards import MODEL_CARDS


@runtime_checkable
class Family(Protocol):
    """What one family does its own way; every network is frozen and on one device, text encoders in main memory."""

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Part -> network, but for the autoencoders; 'diffusion' and 'controlnet' are among them."""

    @property
    def reader(self) -> TextEncoder:
        """The text encoder that says how long a prompt may be."""

    @property
    def prediction_type(self) -> str:
        """As `clean_of` takes it."""

    @property
    def time_scale(self) -> float:
        """The network's unit of time over that of the levels."""

    @property
    def cells_per_patch(self) -> int:
        """Side of the square of latent cells that the network takes as one."""

    def read(self, prompts: list[str]) -> Text:
        """Prompts as the diffusion network reads them."""

    def negative(self, prompt: str) -> Text:
        """The same for the prompt that classifier-free guidance leads away from; a batch of one."""

    def predict(self, text: Text, pictures: Float[Tensor, "b 3 hh ww"], scale: float) -> Predict:
        """The diffusion network under the ControlNet.

        Args:
            text: of the pictures; under classifier-free guidance the negative ones before them.
            pictures: RGB in 0..1.
            scale: strength of the ControlNet.
        """


@dataclass(frozen=True)
class TextToImageGenerator:
    """A family with a ControlNet as a `LayoutToImage`.

    Args:
        family: its networks and how they are asked.
        scheduler: the noise schedule that it was fitted for.
        decoders: of its latents.
        conditioning: how masks are told to it.
        settings: as it was loaded.
    """

    family: Family
    scheduler: SchedulerMixin
    decoders: Decoders
    conditioning: Conditioning
    settings: TextToImageSettings

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        return latent_shape(self.decoders.vae, size_px, self.family.cells_per_patch)

    def prompts(self, masks: UInt8[Tensor, "b h w"]) -> list[str]:
        """The prompt of each mask."""
        reader = self.family.reader
        return self.conditioning.prompts(masks, reader.max_tokens, reader.count_tokens)

    def condition(self, masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
        """The masks in the ControlNet's colours, RGB in 0..1, on its device."""
        return self.conditioning.pictures(masks, next(self.family.networks["diffusion"].parameters()).device)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        family = self.family
        self.latent_shape((masks.shape[1], masks.shape[2]))
        text = self._read(tuple(self.prompts(masks)))
        if guidance_scale != 1.0:
            negative = self._negative
            text = Text(*(torch.cat([n.expand_as(p), p]) for n, p in zip(negative, text, strict=True)))
        predict = family.predict(text, self.condition(masks), self.settings.conditioning_scale)
        dtype = DTYPES[self.settings.compute.dtype]
        return denoiser_of(predict, guidance_scale, family.prediction_type, dtype, family.time_scale)

    @cached_property
    def _read(self) -> Callable[[tuple[str, ...]], Text]:
        """Prompts as the family reads them; those of the last batch are kept, which is sampled several times."""
        return lru_cache(1)(lambda prompts: self.family.read([*prompts]))

    @cached_property
    def _negative(self) -> Text:
        return self.family.negative(self.settings.negative_prompt)

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        return encode(self.decoders.vae, images)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        return self.decoders.decode(latents, for_guidance=for_guidance)

    def as_record(self) -> dict[str, Any]:
        parts = {**self.family.networks, "vae": self.decoders.vae, "tiny_decoder": self.decoders.tiny}
        return {
            "kind": self.settings.kind,
            "settings": self.settings.model_dump(mode="json"),
            "commits": self.settings.commits,
            "weights_sha256": {name: sha256_weights(part) for name, part in parts.items() if part is not None},
        }


def load_network(kind: Any, subfolder: str, settings: TextToImageSettings, device: torch.device) -> Any:
    """The diffusion network of the pipeline, as `compute` says."""
    dtype, revision = DTYPES[settings.compute.dtype], settings.model_revision
    network = load_part(kind, settings.model, subfolder, settings, dtype, revision)
    return prepared(network.to(device), settings.compute)


def load_controlnet(kind: Any, settings: TextToImageSettings, device: torch.device) -> Any:
    """The ControlNet, as `compute` says."""
    where, dtype = settings.controlnet_subfolder, DTYPES[settings.compute.dtype]
    network = load_part(kind, settings.controlnet, where, settings, dtype, settings.controlnet_revision)
    return prepared(network.to(device), settings.compute)


def load_scheduler(kind: Any, settings: TextToImageSettings) -> SchedulerMixin:
    """The noise schedule of the pipeline."""
    scheduler: SchedulerMixin = load_files(kind, settings.model, "scheduler", settings, settings.model_revision)
    return scheduler


def control_mode_of(settings: TextToImageSettings) -> int | None:
    """The number of segmentation among the conditions that a ControlNet knows; None for one that knows one."""
    card = MODEL_CARDS.get(settings.controlnet)
    return settings.control_mode if settings.control_mode is not None or card is None else card.control_mode


def require_mode(settings: TextToImageSettings, mode: int | None, num_modes: int) -> None:
    """Raises ModelError where a ControlNet knows several kinds of conditions and none is chosen, or the other way."""
    if num_modes and mode is None:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet knows {num_modes} kinds of conditions; set "
            "generator.control_mode to the number of the one for segmentation, by its page."
        )
    if mode is not None and mode >= num_modes:
        raise ModelError(
            f"generator.control_mode is {mode}, and {settings.controlnet} knows {num_modes} kinds of conditions; "
            + (f"take one of 0 to {num_modes - 1}." if num_modes else "leave it out.")
        )


def require_equal(settings: TextToImageSettings, what: str, controlnet: object, model: object) -> None:
    """Raises ModelError where the ControlNet was made for another model."""
    if controlnet != model:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet has {what} {controlnet}, {settings.model} {model}; take a "
            "ControlNet that was made for this model."
        )


def refuse_slicing(settings: TextToImageSettings) -> None:
    """Raises ModelError where sliced attention is asked of a transformer, which has none."""
    if settings.compute.attention_slicing:
        raise ModelError(
            f"generator.compute.attention_slicing: the transformer of '{settings.kind}' runs on fused attention and "
            "cannot be sliced; leave it out."
        )
