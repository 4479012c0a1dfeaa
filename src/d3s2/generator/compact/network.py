"""The compact generator: a small mask-conditioned diffusion model that d3s2 fits on the user's own data.

It predicts x0 under flow matching, x_t = (1 - t) x0 + t e, on images packed into channels: the network runs on a grid
of 1 / pack of the image, which is what makes it cheap enough for two cores. Each pixel of the mask is embedded before
it is packed in the same way, so that an object of a few pixels still reaches the network whole. On the latents of an
autoencoder, x is smaller than the mask: each cell of x then comes with all the pixels of the mask that it stands for.

Source: flow matching (arXiv 2210.02747), x0-prediction on patches (arXiv 2511.13720).
"""

from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import writing_files
from d3s2.base.formats.records import read_record
from d3s2.base.seeds import seed_for
from d3s2.generator.autoencoders import Autoencoder
from d3s2.generator.compact.settings import HEAD_CHANNELS, NORM_GROUPS
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.hub import loading_safely, require_all_weights, require_finite

FIT_AGAIN = "get the folder again, or make one with `d3s2 fit`"
AUTOENCODER = "autoencoder"  # folder of a copy of it, inside that of a generator fitted on its latents
SHAPE = ("num_classes", "image_channels", "pack", "channels", "layers", "mask_channels", "cell")
FINE_SHAPE = ("fine_channels", "fine_layers")
TIME_SCALE = 1000.0  # the U-Net's sinusoidal embedding is made for times of 0..1000


class CompactGenerator(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """(x_t, t, mask) -> x0; images in -1..1, or latents of about unit variance.

    Args:
        num_classes: classes of the label space.
        image_channels: 3 for pixels, those of the latent for latents.
        pack: side of the square of x that becomes one cell of the network's grid.
        channels: of the U-Net's levels, multiples of 32; all but the first attend.
        layers: residual blocks a level.
        mask_channels: size of a class's embedding.
        cell: side of the square of pixels of the mask that belongs to one cell of x; 1 for pixels.
        fine_channels, fine_layers: of the layers at the resolution of x, and how many there are between first and last.
        detail: standard deviation of what the layers cannot draw, because they see `pack` x `pack` pixels as one; it is
            taken from x (`forward`). 0 takes nothing.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        num_classes: int,
        image_channels: int = 3,
        pack: int = 4,
        channels: Sequence[int] = (128, 256, 384),
        layers: int = 1,
        mask_channels: int = 8,
        cell: int = 1,
        fine_channels: int = 16,
        fine_layers: int = 0,
        detail: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.pack, self.image_channels, self.cell = num_classes, pack, image_channels, cell
        self.detail = detail
        condition_channels = mask_channels * cell**2
        lower = len(channels) - 1
        self.unet = UNet2DModel(
            in_channels=(image_channels + condition_channels) * pack**2,
            out_channels=image_channels * pack**2,
            block_out_channels=tuple(channels),
            layers_per_block=layers,
            down_block_types=("DownBlock2D", *["AttnDownBlock2D"] * lower),
            up_block_types=(*["AttnUpBlock2D"] * lower, "UpBlock2D"),
            attention_head_dim=HEAD_CHANNELS,
            norm_num_groups=NORM_GROUPS,
        )
        # one row a class, one for ignored pixels, one for "no mask" (classifier-free guidance)
        self.embedding = nn.Embedding(num_classes + 2, mask_channels)
        # at the resolution of x: draws what cells of `pack` pixels are too coarse for; starts as the identity
        first = nn.Conv2d(2 * image_channels + condition_channels, fine_channels, 3, padding=1)
        last = nn.Conv2d(fine_channels, image_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        between = [(nn.Conv2d(fine_channels, fine_channels, 3, padding=1), nn.SiLU()) for _ in range(fine_layers)]
        self.refine = nn.Sequential(first, nn.SiLU(), *chain.from_iterable(between), last)
        self.multiple = cell * pack * 2**lower

    def classes_of(self, masks: UInt8[Tensor, "b h w"]) -> Tensor:
        """Train ids as rows of the embedding: 255 becomes the row of ignored pixels."""
        return masks.long().clamp(max=self.num_classes)

    def no_mask(self, like: Tensor) -> Tensor:
        """The condition that says nothing."""
        return torch.full_like(like, self.num_classes + 1)

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"], classes: Tensor
    ) -> Float[Tensor, "b c h w"]:
        """The layers' picture u and x / (1 - t) = x0 + s e with s = t / (1 - t), each weighed by what the other misses.

        x0 = k x / (1 - t) + (1 - k) u with k = d^2 / (d^2 + s^2) is the best of both where the error of u is `detail` d
        and independent of the noise. Source: the preconditioning of arXiv 2206.00364, with d for the deviation of the
        data.
        """
        condition = F.pixel_unshuffle(self.embedding(classes).permute(0, 3, 1, 2).to(x.dtype), self.cell)
        packed = F.pixel_unshuffle(torch.cat([x, condition], dim=1), self.pack)
        clean = F.pixel_shuffle(self.unet(packed, time * TIME_SCALE).sample, self.pack)
        clean = clean + self.refine(torch.cat([clean, x, condition], dim=1))
        if self.detail == 0:
            return clean
        t = time[:, None, None, None]
        kept = self.detail**2 * (1 - t) / (self.detail**2 * (1 - t) ** 2 + t**2)  # k / (1 - t), finite at t = 1
        return kept * x + (1 - kept * (1 - t)) * clean

    def latent_shape(self, size_px: tuple[int, int]) -> tuple[int, int, int]:
        """Shape of x for an image of (height, width) px; raises ModelError as `require_size` does."""
        self.require_size(*size_px)
        return (self.image_channels, size_px[0] // self.cell, size_px[1] // self.cell)

    def require_size(self, height: int, width: int) -> None:
        """Raises ModelError for a size that the grid does not divide, with the nearest that it does."""
        if height % self.multiple or width % self.multiple:
            near = [max(1, round(side / self.multiple)) * self.multiple for side in (height, width)]
            raise ModelError(
                f"The compact generator works on sizes that divide by {self.multiple}, got {height} x {width} px "
                f"(height x width); set data.size to [{near[0]}, {near[1]}]."
            )


Channels = Annotated[int, Field(ge=HEAD_CHANNELS, le=8192, multiple_of=HEAD_CHANNELS)]


class ShapeRecord(BaseModel):
    """What config.json of a compact generator says; the bounds are far beyond what anyone fits."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    class_name: Literal["CompactGenerator"] = Field(alias="_class_name")
    num_classes: Annotated[int, Field(ge=1, le=255)]
    image_channels: Annotated[int, Field(ge=1, le=256)] = 3
    pack: Annotated[int, Field(ge=1, le=64)] = 4
    channels: Annotated[
        tuple[Annotated[int, Field(ge=32, le=8192, multiple_of=32)], ...], Field(min_length=1, max_length=8)
    ]
    layers: Annotated[int, Field(ge=1, le=16)] = 1
    mask_channels: Annotated[int, Field(ge=1, le=1024)] = 8
    cell: Annotated[int, Field(ge=1, le=64)] = 1
    fine_channels: Annotated[int, Field(ge=1, le=1024)] = 16
    fine_layers: Annotated[int, Field(ge=0, le=16)] = 0
    detail: Annotated[float, Field(ge=0, le=1)] = 0.0


class ScheduleRecord(BaseModel):
    """What scheduler_config.json says, as far as its size is concerned."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)

    num_train_timesteps: Annotated[int, Field(ge=2, le=100_000)] = 1000
    shift: Annotated[float, Field(gt=0, le=1000)] = 1.0


def new_generator(seed: int, **shape: Any) -> CompactGenerator:
    """A freshly initialised model from a seed; `shape` are the arguments of `CompactGenerator`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "new-generator"))
        return CompactGenerator(**shape)


def take_weights(model: CompactGenerator, other: CompactGenerator) -> None:
    """Copies the weights of `other`; raises ModelError where its shape is another.

    Layers at the resolution of x may differ: they are then left fresh.
    """
    for key in SHAPE:
        mine, theirs = (list(value) if key == "channels" else value for value in (model.config[key], other.config[key]))
        if mine != theirs:
            raise ModelError(
                f"generator.fit.start: that generator has {key} {theirs}, this one {mine}; give both one shape."
            )
    same = all(model.config[key] == other.config[key] for key in FINE_SHAPE)
    weights = {name: weight for name, weight in other.state_dict().items() if same or not name.startswith("refine.")}
    model.load_state_dict(weights, strict=same)


def bind(model: CompactGenerator, masks: UInt8[Tensor, "b h w"], guidance_scale: float = 1.0) -> Denoiser:
    """The model as a `Denoiser` for these masks.

    Args:
        model: in float32.
        masks: train ids, 255 ignored.
        guidance_scale: classifier-free guidance: 1 is the plain conditional model, larger follows the mask more
            closely. Source: arXiv 2207.12598, in terms of x0.
    """
    classes = model.classes_of(masks)

    def denoise(x: Float[Tensor, "b c h w"], level: Level) -> Float[Tensor, "b c h w"]:
        time = torch.full((len(x),), level.time, device=x.device, dtype=x.dtype)
        if guidance_scale == 1.0:
            return model(x, time, classes)
        both = model(torch.cat([x, x]), torch.cat([time, time]), torch.cat([classes, model.no_mask(classes)]))
        conditional, unconditional = both.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    return denoise


def flow_scheduler(shift: float = 1.0) -> FlowMatchEulerDiscreteScheduler:
    """The schedule that the compact generator is fitted for; saved beside its weights."""
    return FlowMatchEulerDiscreteScheduler(shift=shift)


def save_generator(
    model: CompactGenerator, folder: Path, half: bool = False, autoencoder: Autoencoder | None = None
) -> None:
    """Writes weights (safetensors), config, scheduler and a copy of the autoencoder as a folder; `half`: float16."""
    with writing_files(folder, last="config.json") as scratch:
        stored = {scratch: model} if autoencoder is None else {scratch: model, scratch / AUTOENCODER: autoencoder}
        for place, network in stored.items():
            copied = deepcopy(network)
            (copied.half() if half else copied).save_pretrained(place)
        flow_scheduler().save_pretrained(scratch / "scheduler")


def load_generator(folder: Path, num_classes: int) -> tuple[CompactGenerator, FlowMatchEulerDiscreteScheduler]:
    """The model in float32 and its scheduler; raises ModelError where the folder or its classes do not fit."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: there is no compact generator here; make one with `d3s2 fit`.")
    read_record(folder / "config.json", ShapeRecord, FIT_AGAIN, ModelError)
    with loading_safely(folder, "a compact generator", FIT_AGAIN), torch.random.fork_rng(devices=[]):
        # fresh weights may be drawn before they are replaced
        model, info = CompactGenerator.from_pretrained(
            folder, torch_dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    require_all_weights(info, folder, "a compact generator")
    require_finite(model, folder, FIT_AGAIN)
    if model.num_classes != num_classes:
        raise ModelError(
            f"{folder}: this generator was fitted for {model.num_classes} classes, the data set has {num_classes}; "
            "fit one on this data set."
        )
    return model.eval().requires_grad_(False), _load_scheduler(folder / "scheduler")


def _load_scheduler(folder: Path) -> FlowMatchEulerDiscreteScheduler:
    read_record(folder / "scheduler_config.json", ScheduleRecord, FIT_AGAIN, ModelError)
    with loading_safely(folder, "a schedule of flow matching", FIT_AGAIN):
        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, local_files_only=True)
        scheduler.set_timesteps(sigmas=[1.0, 0.5])  # settings of wrong types show here only
        if not scheduler.sigmas.isfinite().all():
            raise ValueError("its levels of noise are not finite")
    return scheduler
