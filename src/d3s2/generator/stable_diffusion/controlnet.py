"""Stable Diffusion with a segmentation ControlNet: the mask as a picture in the colours that the ControlNet knows.

Source: arXiv 2302.05543 (ControlNet), 2404.07987 (ControlNet++); steps as StableDiffusionControlNetPipeline takes them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from pydantic import Field, field_validator
from torch import Tensor, nn

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.revisions import Revision, commits_of
from d3s2.base.seeds import seed_for
from d3s2.base.weights import sha256_weights
from d3s2.data.label_space import LabelSpace
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.model_cards import MODEL_CARDS
from d3s2.generator.parts import DTYPES, load_part, prepared
from d3s2.generator.stable_diffusion.palettes import OWN_PALETTE, PALETTES, colour_condition, colour_table
from d3s2.generator.stable_diffusion.parts import StableDiffusion, StableDiffusionSettings, load_stable_diffusion
from d3s2.generator.stable_diffusion.prompts import PLACE, pixels_of, prompt_of, spoken


class ControlNetSettings(StableDiffusionSettings):
    """Settings of Stable Diffusion with a segmentation ControlNet.

    Args:
        controlnet: hub id or folder.
        controlnet_revision: commit, tag or branch of `controlnet`, where that is a hub id.
        controlnet_subfolder: where the ControlNet lies inside it.
        palette: a name in `PALETTES`, or 'label-space'; None takes the one that a known checkpoint was fitted with.
        class_names: class of the label space -> class of the palette, for names that differ.
        shared_colours: accept classes that the palette cannot tell apart.
        template: of the prompt; '{classes}' becomes the classes present.
        negative_prompt: what classifier-free guidance leads away from.
        words: class -> what the prompt says for it, where its name says little.
        rarity: how common each class is in the data set, by train id (for example its number of masks): where not all
            classes fit into the prompt, the rarest are kept. None goes by pixels in the mask.
        conditioning_scale: strength of the ControlNet, 1 is as fitted.
    """

    controlnet: str
    controlnet_revision: Revision | None = None
    controlnet_subfolder: str | None = None
    palette: str | None = None
    class_names: Mapping[str, str] = {}
    shared_colours: bool = False
    template: str = "a photo of {classes}"
    negative_prompt: str = ""
    words: Mapping[str, str] = {}
    rarity: tuple[float, ...] | None = None
    conditioning_scale: float = Field(1.0, ge=0)

    @property
    def commits(self) -> dict[str, str]:
        return super().commits | commits_of(controlnet=(self.controlnet, self.controlnet_revision))

    @field_validator("template")
    @classmethod
    def _has_place(cls, template: str) -> str:
        if PLACE not in template:
            raise ValueError(f"Expected {PLACE} in the template, where the classes go")
        return template


@dataclass(frozen=True)
class ControlNetGenerator:
    """Stable Diffusion with a segmentation ControlNet as a `Generator`.

    Args:
        parts: of Stable Diffusion.
        controlnet: on the same device.
        colours: train id -> RGB of the condition.
        words: what the prompt says for each class.
        settings: as it was loaded.
    """

    parts: StableDiffusion
    controlnet: ControlNetModel
    colours: UInt8[np.ndarray, "256 3"]
    words: tuple[str, ...]
    settings: ControlNetSettings

    @property
    def scheduler(self) -> SchedulerMixin:
        return self.parts.scheduler

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        return self.parts.latent_shape(size_px)

    def prompts(self, masks: UInt8[Tensor, "b h w"]) -> list[str]:
        """The prompt of each mask."""
        return [
            prompt_of(
                pixels_of(mask),
                self.words,
                template=self.settings.template,
                max_tokens=self.parts.max_tokens,
                count_tokens=self.parts.count_tokens,
                rarity=self.settings.rarity,
            )
            for mask in masks.cpu()
        ]

    def condition(self, masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
        """The masks in the ControlNet's colours, on its device."""
        return colour_condition(masks.to(self.parts.device), self.colours)

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
    """Stable Diffusion and a ControlNet in float32 to go on from.

    Args:
        settings: name the ControlNet to start from, where there is one.
        seed: None reads that one; otherwise a new one is made: the U-Net's encoder, the rest drawn from this seed.
    """
    if seed is None:
        return _assembled(settings, space, device, lambda _: _stored(settings, torch.float32))
    return _assembled(settings, space, device, lambda parts: _new(parts.unet, seed))


def palette_of(source: str) -> str:
    """The palette that a known checkpoint was fitted with; raises UsageError for others."""
    card = MODEL_CARDS.get(source)
    if card is not None and card.palette is not None:
        return card.palette
    raise UsageError(
        f"generator.settings.palette is not set, and the colours that {source} was fitted with are not known: set it "
        f"to one of {', '.join(sorted(PALETTES))}, or to {OWN_PALETTE} for a ControlNet fitted in the label space's "
        "own colours."
    )


def _assembled(
    settings: ControlNetSettings,
    space: LabelSpace,
    device: torch.device,
    make: Callable[[StableDiffusion], ControlNetModel],
) -> ControlNetGenerator:
    palette = settings.palette or palette_of(settings.controlnet)
    colours = colour_table(space, palette, settings.class_names, settings.shared_colours)
    if settings.rarity is not None and len(settings.rarity) != space.num_classes:
        raise ModelError(
            f"generator.settings.rarity has {len(settings.rarity)} numbers for {space.num_classes} classes of "
            f"{space.name}; give one each."
        )
    parts = load_stable_diffusion(settings, device)
    controlnet = make(parts)
    _require_fit(settings, parts, controlnet)
    return ControlNetGenerator(
        parts=parts,
        controlnet=prepared(controlnet.to(device), settings.compute),
        colours=colours,
        words=tuple(spoken(name, settings.words) for name in space.names),
        settings=settings,
    )


def _stored(settings: ControlNetSettings, dtype: torch.dtype) -> ControlNetModel:
    return load_part(
        ControlNetModel,
        settings.controlnet,
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
