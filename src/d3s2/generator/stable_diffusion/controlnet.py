"""Stable Diffusion with a segmentation ControlNet: the mask as a picture in the colours that the ControlNet knows.

Source: arXiv 2302.05543 (ControlNet), 2404.07987 (ControlNet++); steps as StableDiffusionControlNetPipeline takes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from d3s2.base.errors import ModelError
from d3s2.base.seeds import seed_for
from d3s2.data import LabelSpace
from d3s2.generator.compute import DTYPES, prepared
from d3s2.generator.conditions.conditioning import Conditioning, conditioning_of
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.stable_diffusion.parts import StableDiffusion, load_stable_diffusion
from d3s2.generator.stable_diffusion.settings import ControlNetSettings
from d3s2.hub import load_part, sha256_weights


@dataclass(frozen=True)
class ControlNetGenerator:
    """Stable Diffusion with a segmentation ControlNet as a `LayoutToImage`.

    Args:
        parts: of Stable Diffusion.
        controlnet: on the same device.
        conditioning: how masks are told to it.
        settings: as it was loaded.
    """

    parts: StableDiffusion
    controlnet: ControlNetModel
    conditioning: Conditioning
    settings: ControlNetSettings

    @property
    def scheduler(self) -> SchedulerMixin:
        return self.parts.scheduler

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        return self.parts.latent_shape(size_px)

    def prompts(self, masks: UInt8[Tensor, "b h w"]) -> list[str]:
        """The prompt of each mask."""
        return self.conditioning.prompts(masks, self.parts.max_tokens, self.parts.count_tokens)

    def condition(self, masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
        """The masks in the ControlNet's colours, on its device."""
        return self.conditioning.pictures(masks, self.parts.device)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        parts, scale = self.parts, self.settings.conditioning_scale
        parts.latent_shape((masks.shape[1], masks.shape[2]))
        text, condition = parts.encode_prompts(self.prompts(masks)), self.condition(masks)
        if guidance_scale != 1.0:
            negative = parts.encode_prompts([self.settings.negative_prompt])
            text = torch.cat([negative.expand_as(text), text])
            condition = torch.cat([condition, condition])

        def predict(x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
            return predicted(parts.unet, self.controlnet, x, time, text, condition, scale)

        return parts.denoiser(predict, guidance_scale)

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        return self.parts.encode(images)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        return self.parts.decode(latents, for_guidance=for_guidance)

    def as_record(self) -> dict[str, Any]:
        return {
            "kind": "controlnet",
            "settings": self.settings.model_dump(mode="json"),
            "commits": self.settings.commits,
            "weights_sha256": {**self.parts.weight_digests(), "controlnet": sha256_weights(self.controlnet)},
        }


def predicted(
    unet: UNet2DConditionModel,
    controlnet: nn.Module,
    x: Float[Tensor, "b c h w"],
    time: Tensor,
    text: Float[Tensor, "b t d"],
    condition: Float[Tensor, "b 3 hh ww"],
    scale: float = 1.0,
) -> Float[Tensor, "b c h w"]:
    """The diffusion network's raw output under the ControlNet; each works in the format of its own weights."""
    own = next(controlnet.parameters()).dtype
    down, middle = controlnet(
        x.to(own),
        time,
        text.to(own),
        controlnet_cond=condition.to(own),
        conditioning_scale=scale,
        return_dict=False,
    )
    return unet(
        x.to(unet.dtype),
        time,
        text.to(unet.dtype),
        down_block_additional_residuals=[residual.to(unet.dtype) for residual in down],
        mid_block_additional_residual=middle.to(unet.dtype),
    ).sample


def load_controlnet(settings: ControlNetSettings, space: LabelSpace, device: torch.device) -> ControlNetGenerator:
    """Stable Diffusion and the ControlNet; raises ModelError where they are missing or do not fit the label space."""
    return _assembled(settings, space, device, lambda _: _stored(settings, DTYPES[settings.compute.dtype]))


def controlnet_to_fit(
    settings: ControlNetSettings, space: LabelSpace, device: torch.device, seed: int | None
) -> ControlNetGenerator:
    """Stable Diffusion and a ControlNet in float32 to start a fit from.

    Args:
        settings: name the ControlNet to start from, where there is one.
        seed: None reads that one; otherwise a new one is made: the U-Net's encoder, the rest drawn from this seed.
    """
    make = (lambda _: _stored(settings, torch.float32)) if seed is None else (lambda parts: _new(parts.unet, seed))
    generator = _assembled(settings, space, device, make)
    generator.parts.text_encoder.to(device)  # every step of a fit reads other prompts
    return generator


def _assembled(
    settings: ControlNetSettings,
    space: LabelSpace,
    device: torch.device,
    make: Callable[[StableDiffusion], ControlNetModel],
) -> ControlNetGenerator:
    conditioning = conditioning_of(settings, space, settings.controlnet)
    parts = load_stable_diffusion(settings, device)
    controlnet = make(parts)
    _require_fit(settings, parts, controlnet)
    return ControlNetGenerator(
        parts=parts,
        controlnet=prepared(controlnet.to(device), settings.compute),
        conditioning=conditioning,
        settings=settings,
    )


def _stored(settings: ControlNetSettings, dtype: torch.dtype) -> ControlNetModel:
    return load_part(
        ControlNetModel,
        str(settings.controlnet),
        settings.controlnet_subfolder,
        settings,
        dtype,
        settings.controlnet_revision,
    )


def _new(unet: UNet2DConditionModel, seed: int) -> ControlNetModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "new-controlnet"))
        return ControlNetModel.from_unet(unet)


def _require_fit(settings: ControlNetSettings, parts: StableDiffusion, controlnet: Any) -> None:
    expected, found = parts.unet.config.cross_attention_dim, controlnet.config.cross_attention_dim
    if found != expected:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet reads text of {found} channels, {settings.model} writes "
            f"{expected}; take a ControlNet that was made for this model (Stable Diffusion 1.x has 768, 2.x has 1024)."
        )
    side = 2 ** (len(controlnet.config.conditioning_embedding_out_channels) - 1)
    if side != parts.pixels_per_cell:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet packs {side} x {side} px into a cell, the autoencoder of "
            f"{settings.model} {parts.pixels_per_cell}; take parts that were made for each other."
        )
