"""Settings of the generators on Stable Diffusion, and of the fit of a ControlNet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED
from d3s2.base.ranges import LearningRate, Positive, Seconds, Share
from d3s2.generator.conditions.settings import ConditionSettings
from d3s2.generator.settings import PipelineSettings
from d3s2.hub import Revision


class StableDiffusionSettings(PipelineSettings):
    """What every generator on Stable Diffusion has."""

    model: str
    """Hub id or folder of a Stable Diffusion 1.x or 2.x pipeline."""
    schedule: Literal["ddim", "dpm-solver"] = "ddim"
    """How steps are spaced over the noise levels; 'dpm-solver' goes with that sampler."""


class ControlNetFitSettings(Config):
    """Fine-tuning of a ControlNet."""

    steps: Positive = 10000
    """Optimiser steps."""
    batch: Positive = 8
    """Pairs a step, over all devices."""
    accumulate: Positive = 1
    """Parts of its share of a batch that a device works on one after another: less memory, the same gradient."""
    lr: LearningRate = 1e-5
    """Learning rate after the warm-up."""
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 500
    """Over which it rises from 0."""
    drop_prompt: Share = 0.1
    """Share of pairs seen with an empty prompt, for classifier-free guidance."""
    flip: bool = True
    """Mirror half of the pairs; switch off where left and right differ in meaning."""
    checkpoint_s: Annotated[Seconds, Field(json_schema_extra=UNTOUCHED)] = 600.0
    """Seconds between checkpoints, each with a picture of samples."""


class ControlNetSettings(ConditionSettings, StableDiffusionSettings):
    """Stable Diffusion with a segmentation ControlNet."""

    renamed: ClassVar[Mapping[str, str]] = {"settings": "", "tune": "fit", "revision": "model_revision"}
    sources: ClassVar[tuple[str, ...]] = ("model", "controlnet", "tiny_decoder")

    kind: Literal["controlnet"] = "controlnet"
    controlnet: str | None = None
    """Hub id or folder; null only with `fit`, which then starts from a new one."""
    controlnet_subfolder: str | None = None
    """Where the ControlNet lies inside it."""
    controlnet_revision: Revision | None = None
    """As `model_revision`, of `controlnet`."""
    fit: ControlNetFitSettings | None = None
    """Fine-tune `controlnet` on the training split, or a new one where that is null; null loads it as it is."""

    @property
    def is_fitted_here(self) -> bool:
        return self.fit is not None

    @property
    def num_fit_steps(self) -> int:
        return self.fit.steps if self.fit is not None else 0

    @property
    def num_fit_pairs(self) -> int:
        return self.fit.steps * self.fit.batch if self.fit is not None else 0

    @property
    def fit_summary(self) -> str:
        if self.fit is None:
            return ""
        start = self.controlnet or "new"
        return f"ControlNet, {start}, on {self.model}, {self.fit.steps} steps of {self.fit.batch}"

    @property
    def summary(self) -> str:
        fitted = ", its ControlNet fitted on the training split" if self.is_fitted_here else ""
        return super().summary + fitted

    @model_validator(mode="after")
    def _has_a_controlnet(self) -> "ControlNetSettings":
        if self.controlnet is None and self.fit is None:
            raise ValueError("controlnet is missing: name a ControlNet, or set fit to have one fitted")
        return self


class FreestyleSettings(StableDiffusionSettings):
    """Stable Diffusion with FreestyleNet's rectified cross attention."""

    sources: ClassVar[tuple[str, ...]] = ("model", "checkpoint", "tiny_decoder")

    kind: Literal["freestyle"] = "freestyle"
    checkpoint: Path | None = None
    """FreestyleNet's .ckpt (or the same as .safetensors), whose weights take the place of those of `model`; null where
    `model` itself is a fitted pipeline."""
    negative_prompt: str = ""
    """What classifier-free guidance leads away from."""
    words: Mapping[str, str] = {}
    """Class -> what the prompt says for it, where its name says little."""
    word_list: Literal["auto", "names", "ade20k", "cocostuff"] = "auto"
    """The words that FreestyleNet was fine-tuned on, those of 'ade20k' or 'cocostuff', or 'names' for the class names
    themselves; 'auto' takes the list that is of exactly the data set's classes. `words` go before it."""
    cells: Literal["nearest", "area"] = "nearest"
    """Whose words a cell of the latent sees: 'nearest' those of the class at its nearest pixel, as FreestyleNet was
    fitted; 'area' those of every class in it, by its share of the cell (the layout control map of PLACE)."""
