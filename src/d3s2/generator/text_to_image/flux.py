"""FLUX.1 with a ControlNet: a transformer fitted by flow matching, its guidance scale distilled into an input.

Source: FLUX.1 has no paper; steps as FluxControlNetPipeline of diffusers takes them. Latents go in as a row of packed
squares of 2 x 2 cells. Under classifier-free guidance on top the ControlNet reads the prompt alone, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxControlNetModel, FluxTransformer2DModel
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
from d3s2.generator.text_to_image.settings import FluxSettings
from d3s2.generator.text_to_image.text import Text, TextEncoder, load_clip, load_t5

T5_TOKENS = 512
PACK = 2
TRAIN_TIMES = 1000


@dataclass(frozen=True)
class Flux:
    """The networks of FLUX.1 as a `Family`.

    Args:
        transformer, controlnet: frozen, on one device.
        vae: which makes the ControlNet's input.
        clip: whose pooled embedding of a prompt is read.
        t5: whose tokens are read.
        mode: number of the segmentation condition of a ControlNet that knows several; None for one that knows one.
        guidance: the distilled scale; models without that input are not told.
    """

    transformer: FluxTransformer2DModel
    controlnet: FluxControlNetModel
    vae: AutoencoderKL
    clip: TextEncoder
    t5: TextEncoder
    mode: int | None
    guidance: float
    prediction_type: str = FLOW
    time_scale: float = float(TRAIN_TIMES)
    cells_per_patch: int = PACK

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        texts = {"text_encoder": self.clip.network, "text_encoder_2": self.t5.network}
        return {"diffusion": self.transformer, "controlnet": self.controlnet, **texts}

    @property
    def reader(self) -> TextEncoder:
        return self.t5

    def read(self, prompts: list[str]) -> Text:
        return Text(self.t5.t5_states(prompts), self.clip.clip(prompts).pooled)

    def negative(self, prompt: str) -> Text:
        return self.read([prompt])

    def predict(self, text: Text, pictures: Float[Tensor, "b 3 hh ww"], scale: float) -> Predict:
        count, copies = len(pictures), len(text.pooled) // len(pictures)
        latents = encode(self.vae, pictures)
        height, width = latents.shape[2:]
        places = {"img_ids": places_of((height, width), latents.device), "txt_ids": text.tokens.new_zeros(T5_TOKENS, 3)}
        positive = Text(*(part[-count:] for part in text))
        control = {
            "controlnet_cond": packed(latents).to(self.controlnet.dtype),
            "controlnet_mode": None if self.mode is None else torch.full((count, 1), self.mode, device=latents.device),
            "conditioning_scale": scale,
            "guidance": self._guidance(self.controlnet, count, latents.device),
        }
        guidance = self._guidance(self.transformer, copies * count, latents.device)

        def predict(x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
            x, time = packed(x), time / TRAIN_TIMES
            blocks, singles = self.controlnet(
                x[:count], timestep=time[:count], **_told(positive), **places, **control, return_dict=False
            )
            output: Tensor = self.transformer(
                x,
                timestep=time,
                guidance=guidance,
                **_told(text),
                **places,
                controlnet_block_samples=_repeated(blocks, copies),
                controlnet_single_block_samples=_repeated(singles, copies),
            ).sample
            return unpacked(output, (height, width))

        return predict

    def _guidance(
        self, network: FluxTransformer2DModel | FluxControlNetModel, count: int, device: torch.device
    ) -> Float[Tensor, " b"] | None:
        return torch.full((count,), self.guidance, device=device) if network.config.guidance_embeds else None


def packed(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
    """Each square of 2 x 2 cells as one row of 4 c numbers."""
    return F.pixel_unshuffle(x, PACK).flatten(2).transpose(1, 2)


def unpacked(rows: Float[Tensor, "b n d"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    """The reverse of `packed`, for a latent of (height, width) cells."""
    squares = rows.transpose(1, 2).unflatten(2, (size[0] // PACK, size[1] // PACK))
    return F.pixel_shuffle(squares, PACK)


def places_of(size: tuple[int, int], device: torch.device) -> Float[Tensor, "n 3"]:
    """(0, row, column) of each square, which rotary positions are made of."""
    rows, columns = (torch.arange(side // PACK, device=device, dtype=torch.float32) for side in size)
    return torch.cartesian_prod(torch.zeros_like(rows[:1]), rows, columns)


def _told(text: Text) -> dict[str, Tensor]:
    return {"encoder_hidden_states": text.tokens, "pooled_projections": text.pooled}


def _repeated(samples: list[Tensor] | None, copies: int) -> list[Tensor] | None:
    return None if samples is None else [torch.cat([sample] * copies) for sample in samples]


def load_flux(settings: FluxSettings, space: LabelSpace, device: torch.device) -> TextToImageGenerator:
    """FLUX.1 and the ControlNet; raises ModelError where parts are missing or do not fit each other or the classes."""
    refuse_slicing(settings)
    conditioning = conditioning_of(settings, space, settings.controlnet)
    transformer = load_network(FluxTransformer2DModel, "transformer", settings, device)
    controlnet, mode = load_controlnet(FluxControlNetModel, settings, device), control_mode_of(settings)
    require_mode(settings, mode, (controlnet.config.num_mode or 0) if controlnet.union else 0)
    for name in ("num_attention_heads", "attention_head_dim", "in_channels", "joint_attention_dim"):
        require_equal(settings, name, controlnet.config[name], transformer.config[name])
    if controlnet.input_hint_block is not None:
        raise ModelError(
            f"{settings.controlnet}: this ControlNet reads pixels, as XLabs' do; take one that reads latents."
        )
    clip, t5 = load_clip(settings, device, projected=False), load_t5(settings, device, "_2", T5_TOKENS)
    decoders = load_decoders(settings, device)
    return TextToImageGenerator(
        family=Flux(transformer, controlnet, decoders.vae, clip, t5, mode, settings.distilled_guidance),
        scheduler=load_scheduler(FlowMatchEulerDiscreteScheduler, settings),
        decoders=decoders,
        conditioning=conditioning,
        settings=settings,
    )


COUNTED = CountedFamily(Counted(7.0648, 14.4842, 0.7602), 12645.2, Counted(0.0503, 0.1242), Counted(2.3145, 4.7354))
"""With a ControlNet of two blocks, as the Layout-ControlNet is by the size of its file."""

FLUX_KIND = GeneratorKind(
    settings=FluxSettings, load=load_flux, counted=CountedModels({"black-forest-labs/FLUX.1-dev": COUNTED})
)
