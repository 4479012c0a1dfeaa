"""What the generators on Stable Diffusion 1.x and 2.x share: parts, latents and text."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, Int
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from d3s2.base.errors import ModelError
from d3s2.generator.autoencoders import Decoders, encode, latent_shape, load_decoders, pixels_per_cell
from d3s2.generator.compute import DTYPES, prepared
from d3s2.generator.denoiser import Denoiser
from d3s2.generator.offloading import offloaded
from d3s2.generator.predictions import Predict, denoiser_of
from d3s2.generator.stable_diffusion.settings import StableDiffusionSettings
from d3s2.hub import load_files, load_part, sha256_weights

SCHEDULES: dict[str, Any] = {"ddim": DDIMScheduler, "dpm-solver": DPMSolverMultistepScheduler}
TEXTS_KEPT = 2
"""Lists of prompts whose embeddings are kept: that of a batch, which is sampled several times, and the negative one."""


@dataclass(frozen=True)
class StableDiffusion:
    """The parts, frozen, on one device, but for the text encoder: its weights are in main memory (`offloading`)."""

    unet: UNet2DConditionModel
    decoders: Decoders
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: SchedulerMixin

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.unet.device

    @property
    def pixels_per_cell(self) -> int:
        """Side of the square of pixels that becomes one cell of the latent."""
        return pixels_per_cell(self.decoders.vae)

    @property
    def max_tokens(self) -> int:
        """What the text encoder reads at once, start and end included."""
        return min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, start and end included."""
        return len(self.tokenizer(text, verbose=False).input_ids)

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        """Shape of the latent of an image; raises ModelError for a size that the autoencoder does not divide."""
        return latent_shape(self.decoders.vae, size_px)

    def encode_prompts(self, prompts: list[str]) -> Float[Tensor, "b t d"]:
        """Embeddings of prompts that fit the text encoder, padded to what it reads."""
        return self._encoded(tuple(prompts))

    @cached_property
    def _encoded(self) -> Callable[[tuple[str, ...]], Tensor]:
        @lru_cache(TEXTS_KEPT)
        def encoded(prompts: tuple[str, ...]) -> Float[Tensor, "b t d"]:
            read = self.tokenizer(
                list(prompts), padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
            )
            return self.encode_tokens(read.input_ids, read.attention_mask)

        return encoded

    @torch.no_grad()
    def encode_tokens(self, tokens: Int[Tensor, "b t"], seen: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Embeddings of token ids; `seen` is 0 at padding, and used by text encoders that were trained with it."""
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        mask = seen.to(self.device) if masked else None
        return self.text_encoder(tokens.to(self.device), attention_mask=mask)[0].to(self.unet.dtype)

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        """Latents of RGB images in 0..1."""
        return encode(self.decoders.vae, images)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        """RGB images in 0..1 (not clamped), differentiable."""
        return self.decoders.decode(latents, for_guidance=for_guidance)

    def denoiser(self, predict: Predict, guidance_scale: float) -> Denoiser:
        """A network with its conditions as a `Denoiser`, under classifier-free guidance unless the scale is 1."""
        return denoiser_of(predict, guidance_scale, self.scheduler.config.prediction_type, self.unet.dtype)

    def weight_digests(self) -> dict[str, str]:
        """Part -> digest of its weights, for a manifest."""
        own, decoders = {"unet": self.unet, "text_encoder": self.text_encoder}, self.decoders
        parts = {**own, "vae": decoders.vae, "tiny_decoder": decoders.tiny}
        return {name: sha256_weights(part) for name, part in parts.items() if part is not None}


def load_stable_diffusion(settings: StableDiffusionSettings, device: torch.device) -> StableDiffusion:
    """The parts in `settings.model`; raises ModelError where one is missing or they do not fit together."""
    dtype, revision = DTYPES[settings.compute.dtype], settings.model_revision
    unet = load_part(UNet2DConditionModel, settings.model, "unet", settings, dtype, revision)
    if unet.config.addition_embed_type is not None:
        raise ModelError(f"{settings.model}: is of the SDXL family; use Stable Diffusion 1.x or 2.x.")
    decoders = load_decoders(settings, device)
    text_encoder = load_part(CLIPTextModel, settings.model, "text_encoder", settings, dtype, revision)
    tokenizer = load_files(CLIPTokenizer, settings.model, "tokenizer", settings, revision)
    own = load_files(DDIMScheduler, settings.model, "scheduler", settings, revision)
    _require_fit(settings.model, unet, decoders.vae, text_encoder, tokenizer)
    return StableDiffusion(
        unet=prepared(unet.to(device), settings.compute),
        decoders=decoders,
        text_encoder=offloaded(text_encoder, device),
        tokenizer=tokenizer,
        scheduler=SCHEDULES[settings.schedule].from_config(own.config),
    )


def _require_fit(source: str, unet: Any, vae: Any, text_encoder: Any, tokenizer: Any) -> None:
    if len(tokenizer) != text_encoder.config.vocab_size:
        raise ModelError(
            f"{source}: the tokenizer knows {len(tokenizer)} tokens, the text encoder "
            f"{text_encoder.config.vocab_size}; the folder 'tokenizer' is missing or of another model."
        )
    if unet.config.cross_attention_dim != text_encoder.config.hidden_size:
        raise ModelError(
            f"{source}: the diffusion network reads text of {unet.config.cross_attention_dim} channels, the text "
            f"encoder writes {text_encoder.config.hidden_size}; take both from one pipeline."
        )
    if unet.config.in_channels != vae.config.latent_channels:
        raise ModelError(
            f"{source}: the diffusion network takes {unet.config.in_channels} channels, a latent has "
            f"{vae.config.latent_channels}; use a text-to-image model, not one for inpainting or depth."
        )
