"""Settings of the compact generator, and of its fit."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED
from d3s2.base.ranges import LearningRate, NotNegative, Positive, Seconds, Share, not_empty
from d3s2.generator.settings import LayoutToImageSettings
from d3s2.hub import Revision

NORM_GROUPS, HEAD_CHANNELS = 16, 32
"""The compact generator normalises in so many groups, and its attention has heads of so many channels."""

LevelChannels = Annotated[int, Field(ge=HEAD_CHANNELS, le=2**12, multiple_of=HEAD_CHANNELS)]


class CompactFitSettings(Config):
    """Fitting of the compact generator."""

    channels: Annotated[tuple[LevelChannels, ...], AfterValidator(not_empty)] = (128, 256, 384)
    """Of the U-Net's levels, from fine to coarse, multiples of 32."""
    pack: Annotated[int, Field(ge=1, le=64)] = 4
    """Side of the square of pixels, or of cells of a latent, that the network sees as one; 1 by default for latents."""
    layers: Annotated[int, Field(ge=1, le=64)] = 1
    """Residual blocks a level."""
    fine_channels: Annotated[int, Field(ge=1, le=2**10)] = 32
    """Of the layers at the resolution of the image, or of the latent, which draw what is finer than `pack`."""
    fine_layers: Annotated[int, Field(ge=0, le=16)] = 3
    """How many there are between the first and the last."""
    detail: Annotated[float, Field(ge=0, le=1)] = 0.07
    """Standard deviation, of pixels in -1..1, of what the layers cannot draw: at little noise it is taken from the
    noisy image itself (arXiv 2206.00364); 0 takes nothing, and is the default for latents. `benchmarks/detail.py`
    measures it."""
    steps: Positive = 2000
    """Optimiser steps."""
    batch: Positive = 16
    """Pairs a step."""
    lr: LearningRate = 4e-4
    """Peak of the learning rate; warm-up over 100 steps, then a cosine to 0."""
    rare_boost: NotNegative = 0.0
    """How much more often pairs with rare classes are drawn: the weight of a pair is the largest of (0.1 / share of the
    masks that hold c) ** rare_boost over its classes c, at least 1; 0 draws evenly, 0.5 is repeat-factor sampling
    (arXiv 1908.03195)."""
    start: str | None = None
    """A folder with a compact generator of the same shape whose weights a fit starts from, instead of fresh ones."""
    autoencoder: str | None = None
    """Hub id or folder of an AutoencoderKL or AutoencoderTiny whose latents the generator works on; null: pixels."""
    autoencoder_subfolder: str | None = None
    """Where the autoencoder lies inside it; 'vae' in a Stable Diffusion pipeline."""
    autoencoder_revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    flip: bool = True
    """Mirror half of the pairs; switch off where left and right differ in meaning."""
    ema_decay: Share = 0.999
    """Of the averaged weights, which are the ones that are kept."""
    drop_mask: Share = 0.1
    """Share of pairs seen without their mask, for classifier-free guidance."""
    time_mean: float = 0.4
    """Of the logit of the time at which a pair is noised."""
    time_std: Annotated[float, Field(gt=0)] = 1.0
    """Its standard deviation."""
    checkpoint_s: Annotated[Seconds, Field(json_schema_extra=UNTOUCHED)] = 120.0
    """Seconds between checkpoints, each with a picture of samples."""

    @model_validator(mode="before")
    @classmethod
    def _latents_are_packed_already(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("autoencoder") is not None:
            return {"pack": 1, "detail": 0, **values}
        return values


class CompactSettings(LayoutToImageSettings):
    """The compact generator, fitted on the training split, or read from where it was."""

    sources: ClassVar[tuple[str, ...]] = ("model", "tiny_decoder")

    kind: Literal["compact"] = "compact"
    model: str | None = None
    """The folder that `d3s2 fit` wrote; null fits one."""
    tiny_decoder: str | None = None
    """Of a generator fitted on latents: hub id or folder of an AutoencoderTiny of the same latents, which decodes for
    guidance; the final image still comes from the autoencoder in the folder."""
    tiny_decoder_revision: Revision | None = None
    """Commit, tag or branch of `tiny_decoder`, where that is a hub id; null is its main branch."""
    fit: CompactFitSettings = CompactFitSettings()
    """How one is fitted; not read where there is a model."""

    @property
    def is_fitted_here(self) -> bool:
        return self.model is None

    @property
    def num_fit_steps(self) -> int:
        return self.fit.steps

    @property
    def fit_summary(self) -> str:
        place = "" if self.fit.autoencoder is None else f"on latents of {self.fit.autoencoder}, "
        return f"{place}{self.fit.steps:,} steps of {self.fit.batch}"

    @property
    def summary(self) -> str:
        return super().summary if self.model is not None else "compact: fitted on the training split"
