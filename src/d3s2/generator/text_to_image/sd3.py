"""Stable Diffusion 3 and 3.5 with a ControlNet: a transformer fitted by flow matching.

Source: arXiv 2403.03206; steps as StableDiffusion3ControlNetPipeline takes them. The mask's picture goes through the
autoencoder, and the ControlNet sees the latent: its mean, where the pipeline draws around it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3ControlNetModel, SD3Transformer2DModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.base.errors import ModelError
from d3s2.data import LabelSpace
from d3s2.generator.autoencoders import encode, load_decoders
from d3s2.generator.conditions.conditioning import conditioning_of
from d3s2.generator.counted import Counted, CountedFamily, CountedModels
from d3s2.generator.layout_to_image import GeneratorKind
from d3s2.generator.predictions import FLOW, Predict
from d3s2.generator.text_to_image.generator import (
    TextToImageGenerator,
    control_mode_of,
    load_controlnet,
    load_network,
    load_scheduler,
    refuse_slicing,
    require_equal,
    require_mode,
)
from d3s2.generator.text_to_image.settings import SD3Settings
from d3s2.generator.text_to_image.text import Text, TextEncoder, load_clip, load_t5

T5_TOKENS = 256


@dataclass(frozen=True)
class SD3:
    """The networks of Stable Diffusion 3 as a `Family`.

    Args:
        transformer, controlnet: frozen, on one device.
        vae: which makes the ControlNet's input.
        encoders: CLIP-L and OpenCLIP-G, whose states stand side by side in a token's embedding.
        t5: whose tokens follow theirs; None puts zeros there.
    """

    transformer: SD3Transformer2DModel
    controlnet: SD3ControlNetModel
    vae: AutoencoderKL
    encoders: tuple[TextEncoder, TextEncoder]
    t5: TextEncoder | None
    prediction_type: str = FLOW
    time_scale: float = 1000.0

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        first, second = self.encoders
        texts = {"text_encoder": first.network, "text_encoder_2": second.network}
        third = {} if self.t5 is None else {"text_encoder_3": self.t5.network}
        return {"diffusion": self.transformer, "controlnet": self.controlnet, **texts, **third}

    @property
    def reader(self) -> TextEncoder:
        return self.t5 or self.encoders[0]

    @property
    def cells_per_patch(self) -> int:
        return int(self.transformer.config.patch_size)

    def read(self, prompts: list[str]) -> Text:
        first, second = (encoder.clip(prompts) for encoder in self.encoders)
        clip = torch.cat([first.tokens, second.tokens], dim=-1)
        width = self.transformer.config.joint_attention_dim
        long = clip.new_zeros(len(prompts), T5_TOKENS, width) if self.t5 is None else self.t5.t5_states(prompts)
        tokens = torch.cat([F.pad(clip, (0, width - clip.shape[-1])), long], dim=1)
        return Text(tokens, torch.cat([first.pooled, second.pooled], dim=-1))

    def negative(self, prompt: str) -> Text:
        return self.read([prompt])

    def predict(self, text: Text, pictures: Float[Tensor, "b 3 hh ww"], scale: float) -> Predict:
        copies = len(text.pooled) // len(pictures)
        hint = torch.cat([self._hint(pictures)] * copies).to(self.controlnet.dtype)
        blank = self.controlnet.config.force_zeros_for_pooled_projection
        pooled = torch.zeros_like(text.pooled) if blank else text.pooled
        reads_text = self.controlnet.config.joint_attention_dim is not None

        def predict(x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
            (residuals,) = self.controlnet(
                x if self.controlnet.config.use_pos_embed else self.transformer.pos_embed(x),
                controlnet_cond=hint,
                conditioning_scale=scale,
                encoder_hidden_states=text.tokens if reads_text else None,
                pooled_projections=pooled,
                timestep=time,
                return_dict=False,
            )
            output: Tensor = self.transformer(
                x,
                encoder_hidden_states=text.tokens,
                pooled_projections=text.pooled,
                timestep=time,
                block_controlnet_hidden_states=residuals,
            ).sample
            return output

        return predict

    def _hint(self, pictures: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        latents = encode(self.vae, pictures)
        if not self.controlnet.config.force_zeros_for_pooled_projection:
            return latents
        # InstantX fitted its ControlNets, known by this setting, on latents that are scaled and not shifted
        return latents + (self.vae.config.shift_factor or 0.0) * self.vae.config.scaling_factor


def load_sd3(settings: SD3Settings, space: LabelSpace, device: torch.device) -> TextToImageGenerator:
    """SD3 and the ControlNet; raises ModelError where parts are missing or do not fit each other or the classes."""
    refuse_slicing(settings)
    conditioning = conditioning_of(settings, space, settings.controlnet)
    transformer = load_network(SD3Transformer2DModel, "transformer", settings, device)
    controlnet = load_controlnet(SD3ControlNetModel, settings, device)
    require_mode(settings, control_mode_of(settings), 0)
    for name in ("num_attention_heads", "attention_head_dim", "patch_size", "in_channels"):
        require_equal(settings, name, controlnet.config[name], transformer.config[name])
    if controlnet.config.extra_conditioning_channels:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet asks for {controlnet.config.extra_conditioning_channels} channels "
            "beside the picture, as those for inpainting do; take one that reads a picture alone."
        )
    encoders = (load_clip(settings, device), load_clip(settings, device, "_2"))
    t5 = load_t5(settings, device, "_3", T5_TOKENS) if settings.t5 else None
    decoders = load_decoders(settings, device)
    return TextToImageGenerator(
        family=SD3(transformer, controlnet, decoders.vae, encoders, t5),
        scheduler=load_scheduler(FlowMatchEulerDiscreteScheduler, settings),
        decoders=decoders,
        conditioning=conditioning,
        settings=settings,
    )


MEDIUM = CountedFamily(Counted(0.5821, 1.895, 0.1933), 2680.4, Counted(0.0029, 0.0557), Counted(0.2786, 0.9229))
LARGE = CountedFamily(Counted(2.1114, 6.7616, 0.4488), 9577.2, Counted(0.0046, 0.0881), Counted(1.038, 3.35))
"""Stable Diffusion 3 medium and 3.5 large, with a ControlNet of six blocks."""

SD3_KIND = GeneratorKind(
    settings=SD3Settings,
    load=load_sd3,
    counted=CountedModels(
        {"stabilityai/stable-diffusion-3-medium-diffusers": MEDIUM, "stabilityai/stable-diffusion-3.5-large": LARGE}
    ),
)
