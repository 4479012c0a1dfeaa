"""Settings of the layout-to-image model of a run, by its kind; light to import, so that a key can be checked at once.

What is common to all kinds is `LayoutToImageSettings`; a plan, a page and `d3s2 doctor` ask it what a run reads and
whether it fits its generator itself, and know of no kind.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from d3s2.base.config import Config
from d3s2.base.ranges import Share
from d3s2.hub import Revision, SourceSettings, commits_of


class NoiseWindow(Config):
    """Steps of sampling by their share of noise, sigma / (alpha + sigma): 1 is pure noise."""

    cleanest: Share = 0.1
    """Smallest share of noise of a step in it."""
    noisiest: Share = 0.9
    """Largest share of noise of a step in it."""

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, values: Any) -> Any:
        is_pair = isinstance(values, list | tuple) and len(values) == 2
        return {"cleanest": values[0], "noisiest": values[1]} if is_pair else values

    @model_validator(mode="after")
    def _ordered(self) -> "NoiseWindow":
        if self.cleanest >= self.noisiest:
            raise ValueError("a window is [cleanest, noisiest] with cleanest below noisiest")
        return self

    def holds(self, noise_share: float) -> bool:
        """Whether a step that starts at this share of noise lies in it; both ends do."""
        return self.cleanest <= noise_share <= self.noisiest


class ComputeSettings(Config):
    """How the networks of a generator run; `dtype` and `vae_tiling` apart, none changes what is computed."""

    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the diffusion network and the text encoder. Decoders stay in float32, because guidance differentiates through
    them."""
    vae_slicing: bool = False
    """Decode one image of a batch at a time; less memory, the same images."""
    vae_tiling: bool = False
    """Decode large images in overlapping tiles; less memory, seams are blended."""
    attention_slicing: bool = False
    """Attention one head at a time, for devices without fused attention; slower elsewhere."""
    channels_last: bool = False
    """Memory format of convolutions, faster where tensor cores are."""
    gradient_checkpointing: bool = False
    """Compute activations again on the way back, for `full` guidance on small devices."""
    compile: bool = False
    """torch.compile the diffusion network; pays off after some dozens of images of one size."""


class LayoutToImageSettings(SourceSettings):
    """What a run asks of any layout-to-image model.

    Class attributes:
        sources: the fields that name what is read, a hub id or folder each.
    """

    renamed: ClassVar[Mapping[str, str]] = {"settings": ""}
    sources: ClassVar[tuple[str, ...]] = ()

    kind: str
    """Which generator."""

    @property
    def is_fitted_here(self) -> bool:
        """Whether the run fits its generator on the training split."""
        return False

    def informed(self, images_per_class: Sequence[int]) -> "LayoutToImageSettings":
        """The same for a data set of which so many masks hold each class."""
        return self

    @property
    def commits(self) -> dict[str, str]:
        """Part -> commit of the hub's repository that it comes from, for a manifest."""
        revisions = {field: getattr(self, f"{field}_revision", None) for field in self.sources}
        return commits_of(**{field: (getattr(self, field), revision) for field, revision in revisions.items()})

    @property
    def named_sources(self) -> tuple[str, ...]:
        """Hub ids and folders that are read."""
        named = (getattr(self, field) for field in self.sources)
        return tuple(str(source) for source in named if source is not None)

    @property
    def num_fit_steps(self) -> int:
        """Optimiser steps of the fit, where there is one."""
        return 0

    @property
    def num_fit_pairs(self) -> int:
        """Pairs that all steps of the fit see together."""
        return 0

    @property
    def fit_summary(self) -> str:
        """What a plan says of the fit, where there is one."""
        return ""

    @property
    def summary(self) -> str:
        """What a plan and the page say of it."""
        sources = ", ".join(Path(source).name for source in self.named_sources)
        return f"{self.kind}: {sources}" if sources else self.kind


class PipelineSettings(LayoutToImageSettings):
    """What generators on a pipeline of diffusers have."""

    sources: ClassVar[tuple[str, ...]] = ("model", "tiny_decoder")

    model: str
    """Hub id or folder of the pipeline."""
    model_revision: Revision | None = None
    """Commit, tag or branch of `model`, where that is a hub id; null is its main branch."""
    tiny_decoder: str | None = None
    """Hub id or folder of an AutoencoderTiny of the same family, which decodes for guidance; the full autoencoder still
    decodes the final image. The full one's decode and its gradient cost more than Stable Diffusion's network."""
    tiny_decoder_revision: Revision | None = None
    """As `model_revision`, of `tiny_decoder`."""
    compute: ComputeSettings = ComputeSettings()
    """How the networks run."""
