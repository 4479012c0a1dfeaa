"""Autoencoders between images in 0..1 and latents: the one place that knows their scale.

| name    | symbol              | meaning                                                |
|---------|---------------------|--------------------------------------------------------|
| code    | z                   | what the encoder gives; the mean where it gives a normal |
| latents | (z - shift) * scale | what diffusion networks see, of about unit variance      |
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, AutoModel
from jaxtyping import Float
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.generator.settings import PipelineSettings
from d3s2.hub import SourceSettings, load_part

Autoencoder: TypeAlias = AutoencoderKL | AutoencoderTiny


@dataclass(frozen=True)
class Decoders:
    """What makes images of latents: the autoencoder, and a tiny one for guidance where there is one."""

    vae: AutoencoderKL
    tiny: AutoencoderTiny | None

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool) -> Float[Tensor, "b 3 hh ww"]:
        """RGB images in 0..1 (not clamped), differentiable."""
        chosen: Autoencoder = self.tiny if for_guidance and self.tiny is not None else self.vae
        return decode(chosen, latents)


def load_autoencoder(
    source: str, subfolder: str | None, how: SourceSettings, revision: str | None = None
) -> Autoencoder:
    """The autoencoder in a folder or of a hub id, frozen, in float32; raises ModelError where there is none."""
    network = load_part(AutoModel, source, subfolder, how, revision=revision)
    if not isinstance(network, AutoencoderKL | AutoencoderTiny):
        raise ModelError(
            f"{source}: holds a {type(network).__name__}, expected an AutoencoderKL or an AutoencoderTiny; name its "
            "folder, or a pipeline and the subfolder 'vae'."
        )
    return network


def load_decoders(settings: PipelineSettings, device: torch.device) -> Decoders:
    """The autoencoder of the pipeline and the tiny one; in float32, because guidance differentiates through them."""
    compute = settings.compute
    vae = load_part(AutoencoderKL, settings.model, "vae", settings, revision=settings.model_revision)
    tiny = settings.tiny_decoder and load_part(
        AutoencoderTiny, settings.tiny_decoder, None, settings, revision=settings.tiny_decoder_revision
    )
    if tiny and tiny.config.latent_channels != vae.config.latent_channels:
        raise ModelError(
            f"{settings.tiny_decoder}: decodes latents of {tiny.config.latent_channels} channels, those of "
            f"{settings.model} have {vae.config.latent_channels}; take the tiny decoder of this family."
        )
    if compute.vae_slicing:
        vae.enable_slicing()
    if compute.vae_tiling:
        vae.enable_tiling()
    if compute.gradient_checkpointing:
        vae.enable_gradient_checkpointing()
    return Decoders(vae.to(device), tiny.to(device) if tiny else None)


def pixels_per_cell(autoencoder: Autoencoder) -> int:
    """Side of the square of pixels that becomes one cell of the latent."""
    return int(2 ** (len(autoencoder.config.block_out_channels) - 1))


def latent_shape(autoencoder: Autoencoder, size_px: tuple[int, int], cells_per_patch: int = 1) -> tuple[int, int, int]:
    """(channels, height, width) of a latent.

    Args:
        cells_per_patch: side of the square of cells that the diffusion network takes as one.

    Raises:
        ModelError: a size that autoencoder and network do not divide.
    """
    cell = pixels_per_cell(autoencoder)
    side = cell * cells_per_patch
    height, width = size_px
    if height % side or width % side or not height or not width:
        near = [max(1, round(pixels / side)) * side for pixels in size_px]
        what = "autoencoder works" if cells_per_patch == 1 else "model works"
        raise ModelError(
            f"This {what} on sizes that divide by {side}, got {height} x {width} px (height x width); "
            f"set data.size to [{near[0]}, {near[1]}]."
        )
    return (int(autoencoder.config.latent_channels), height // cell, width // cell)


@torch.no_grad()
def encode(autoencoder: Autoencoder, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
    """Latents of RGB images in 0..1, in the images' format; the same images give the same latents."""
    encoded = autoencoder.encode((images * 2 - 1).to(autoencoder.dtype))
    code = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    return ((code - _shift(autoencoder)) * autoencoder.config.scaling_factor).to(images.dtype)


def decode(autoencoder: Autoencoder, latents: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 hh ww"]:
    """RGB images in 0..1 (not clamped), differentiable, in the latents' format."""
    code = latents / autoencoder.config.scaling_factor + _shift(autoencoder)
    return (autoencoder.decode(code.to(autoencoder.dtype)).sample.to(latents.dtype) + 1) / 2


def _shift(autoencoder: Autoencoder) -> float:
    return float(getattr(autoencoder.config, "shift_factor", None) or 0.0)
