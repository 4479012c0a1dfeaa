"""Stable Diffusion XL with a segmentation ControlNet, or with the union ControlNet.

Source: arXiv 2307.01952 (SDXL; section 2.2 for the sizes that it is told), 2302.05543 (ControlNet); steps as
StableDiffusionXLControlNetPipeline and StableDiffusionXLControlNetUnionPipeline take them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from d3s2.base.errors import ModelError
from d3s2.data import LabelSpace
from d3s2.generator.autoencoders import load_decoders
from d3s2.generator.conditions.conditioning import conditioning_of
from d3s2.generator.counted import Counted, CountedFamily, CountedModels
from d3s2.generator.layout_to_image import GeneratorKind
from d3s2.generator.predictions import Predict
from d3s2.generator.stable_diffusion.parts import SCHEDULES
from d3s2.generator.text_to_image.generator import (
    TextToImageGenerator,
    control_mode_of,
    load_controlnet,
    load_network,
    load_scheduler,
    require_equal,
    require_mode,
)
from d3s2.generator.text_to_image.settings import SDXLSettings
from d3s2.generator.text_to_image.text import Text, TextEncoder, load_clip

NUM_SIZES = 6
"""What SDXL is told of a picture: (height, width) as it was, of its crop's corner, and as it is."""


@dataclass(frozen=True)
class SDXL:
    """The networks of Stable Diffusion XL as a `Family`.

    Args:
        unet, controlnet: frozen, on one device.
        encoders: CLIP-L and OpenCLIP-G, whose states stand side by side in a token's embedding.
        prediction_type: of the noise schedule.
        mode: number of the segmentation condition of a union ControlNet; None for a plain one.
    """

    unet: UNet2DConditionModel
    controlnet: ControlNetModel | ControlNetUnionModel
    encoders: tuple[TextEncoder, TextEncoder]
    prediction_type: str
    mode: int | None
    time_scale: float = 1.0
    cells_per_patch: int = 1

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        first, second = self.encoders
        texts = {"text_encoder": first.network, "text_encoder_2": second.network}
        return {"diffusion": self.unet, "controlnet": self.controlnet, **texts}

    @property
    def reader(self) -> TextEncoder:
        return self.encoders[0]

    def read(self, prompts: list[str]) -> Text:
        first, second = (encoder.clip(prompts) for encoder in self.encoders)
        return Text(torch.cat([first.tokens, second.tokens], dim=-1), second.pooled)

    def negative(self, prompt: str) -> Text:
        """An empty prompt is zeros, not the embedding of no words: so SDXL was trained and its pipelines do."""
        text = self.read([prompt])
        return text if prompt else Text(torch.zeros_like(text.tokens), torch.zeros_like(text.pooled))

    def predict(self, text: Text, pictures: Float[Tensor, "b 3 hh ww"], scale: float) -> Predict:
        copies = len(text.pooled) // len(pictures)
        pictures = torch.cat([pictures] * copies).to(self.controlnet.dtype)
        height, width = pictures.shape[2:]
        sizes = torch.tensor([height, width, 0, 0, height, width], device=pictures.device, dtype=text.pooled.dtype)
        added = {"text_embeds": text.pooled, "time_ids": sizes.expand(len(pictures), NUM_SIZES)}
        control = self._control(pictures)

        def predict(x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
            down, middle = self.controlnet(
                x,
                time,
                text.tokens,
                **control,
                conditioning_scale=scale,
                added_cond_kwargs=added,
                return_dict=False,
            )
            output: Tensor = self.unet(
                x,
                time,
                text.tokens,
                added_cond_kwargs=added,
                down_block_additional_residuals=down,
                mid_block_additional_residual=middle,
            ).sample
            return output

        return predict

    def _control(self, pictures: Float[Tensor, "b 3 hh ww"]) -> dict[str, object]:
        if self.mode is None:
            return {"controlnet_cond": pictures}
        chosen = pictures.new_zeros(len(pictures), self.controlnet.config.num_control_type)
        chosen[:, self.mode] = 1
        return {"controlnet_cond": [pictures], "control_type": chosen, "control_type_idx": [self.mode]}


def load_sdxl(settings: SDXLSettings, space: LabelSpace, device: torch.device) -> TextToImageGenerator:
    """SDXL and the ControlNet; raises ModelError where parts are missing or do not fit each other or the classes."""
    conditioning = conditioning_of(settings, space, settings.controlnet)
    unet = load_network(UNet2DConditionModel, "unet", settings, device)
    if unet.config.addition_embed_type != "text_time":
        raise ModelError(
            f"{settings.model}: is not of the SDXL family; use a Stable Diffusion XL pipeline, or set generator.kind "
            "to controlnet for Stable Diffusion 1.x and 2.x."
        )
    mode = control_mode_of(settings)
    controlnet = load_controlnet(ControlNetModel if mode is None else ControlNetUnionModel, settings, device)
    require_mode(settings, mode, controlnet.config.get("num_control_type", 0))
    width = "text of this many channels:"
    require_equal(settings, width, controlnet.config.cross_attention_dim, unet.config.cross_attention_dim)
    encoders = (load_clip(settings, device, projected=False), load_clip(settings, device, "_2"))
    schedule = SCHEDULES[settings.schedule].from_config(load_scheduler(DDIMScheduler, settings).config)
    return TextToImageGenerator(
        family=SDXL(unet, controlnet, encoders, schedule.config.prediction_type, mode),
        scheduler=schedule,
        decoders=load_decoders(settings, device),
        conditioning=conditioning,
        settings=settings,
    )


COUNTED = CountedFamily(Counted(0.0784, 2.1547, 0.0678), 3818.5, Counted(0.0, 0.0525), Counted(0.0356, 1.821))
"""With the plain ControlNet."""

SDXL_KIND = GeneratorKind(
    settings=SDXLSettings,
    load=load_sdxl,
    counted=CountedModels({"stabilityai/stable-diffusion-xl-base-1.0": COUNTED}),
)
