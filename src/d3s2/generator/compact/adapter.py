"""The compact generator behind the seam of all generators: its latent is the image in -1..1, or an autoencoder's."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import sha256_file
from d3s2.data import LabelSpace
from d3s2.generator.autoencoders import Autoencoder, decode, encode, load_autoencoder, pixels_per_cell
from d3s2.generator.compact.network import AUTOENCODER, CompactGenerator, bind, load_generator
from d3s2.generator.compact.settings import CompactSettings
from d3s2.generator.denoiser import Denoiser
from d3s2.hub import load_part, resolve_source, sha256_weights


@dataclass(frozen=True)
class CompactAdapter:
    """A fitted compact generator as a `LayoutToImage`.

    Args:
        model: the network, in float32, on its device.
        scheduler: of flow matching.
        source: the folder it came from; None for one that was never stored.
        autoencoder: whose latents it was fitted on; None for pixels, where the latent is the image in -1..1.
        tiny: decodes for guidance, where there is one.
        commits: part -> commit of the hub's repository that it came from.
    """

    model: CompactGenerator
    scheduler: SchedulerMixin
    source: Path | None = None
    autoencoder: Autoencoder | None = None
    tiny: AutoencoderTiny | None = None
    commits: Mapping[str, str] = field(default_factory=dict)

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        return self.model.latent_shape(size_px)

    def bind(self, masks: UInt8[Tensor, "b h w"], guidance_scale: float) -> Denoiser:
        self.model.require_size(*masks.shape[1:])
        return bind(self.model, masks.to(self.model.device), guidance_scale)

    def encode(self, images: Float[Tensor, "b 3 hh ww"]) -> Float[Tensor, "b c h w"]:
        return images * 2 - 1 if self.autoencoder is None else encode(self.autoencoder, images)

    def decode(self, latents: Float[Tensor, "b c h w"], *, for_guidance: bool = False) -> Float[Tensor, "b 3 hh ww"]:
        if self.autoencoder is None:
            return (latents + 1) / 2
        return decode(self.tiny if for_guidance and self.tiny is not None else self.autoencoder, latents)

    def as_record(self) -> dict[str, Any]:
        digests = {} if self.source is None else _digests(self.source)
        if self.tiny is not None:
            digests["tiny_decoder"] = sha256_weights(self.tiny)
        return {
            "kind": "compact",
            "model": str(self.source) if self.source else None,
            "commits": dict(self.commits),
            "weights_sha256": digests,
        }


def load_compact(settings: CompactSettings, space: LabelSpace, device: torch.device) -> CompactAdapter:
    """The fitted model in `settings.model`; raises ModelError where it is missing or has other classes."""
    folder = Path(resolve_source(str(settings.model)))
    model, scheduler = load_generator(folder, space.num_classes)
    model.to(device)
    if model.cell == 1:
        if settings.tiny_decoder is not None:
            raise ModelError(
                f"{settings.model}: this generator draws pixels, so there is nothing for tiny_decoder to decode; "
                "leave it out."
            )
        return CompactAdapter(model, scheduler, folder)
    autoencoder = load_autoencoder(str(folder / AUTOENCODER), None, settings).to(device)
    if settings.tiny_decoder is None:
        return CompactAdapter(model, scheduler, folder, autoencoder)
    revision = settings.tiny_decoder_revision
    tiny = load_part(AutoencoderTiny, settings.tiny_decoder, None, settings, revision=revision).to(device)
    if _grid(tiny) != _grid(autoencoder):
        raise ModelError(
            f"{settings.tiny_decoder}: decodes latents of {_grid(tiny)} (channels, px a cell), the generator's have "
            f"{_grid(autoencoder)}; take the tiny autoencoder that was made for this one."
        )
    return CompactAdapter(model, scheduler, folder, autoencoder, tiny, settings.commits)


def _digests(folder: Path) -> dict[str, str]:
    files = [*sorted(folder.glob("*.safetensors")), *sorted(folder.glob(f"{AUTOENCODER}/*.safetensors"))]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}


def _grid(autoencoder: Autoencoder) -> tuple[int, int]:
    return autoencoder.config.latent_channels, pixels_per_cell(autoencoder)
