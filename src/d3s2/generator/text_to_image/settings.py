"""Settings of the text-to-image families with a ControlNet; light to import."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from d3s2.base.ranges import NotNegative
from d3s2.generator.conditions.settings import ConditionSettings
from d3s2.generator.settings import PipelineSettings
from d3s2.hub import Revision


class TextToImageSettings(ConditionSettings, PipelineSettings):
    """What every family has."""

    sources: ClassVar[tuple[str, ...]] = ("model", "controlnet", "tiny_decoder")

    controlnet: str
    """Hub id or folder of a ControlNet that was made for this family."""
    controlnet_subfolder: str | None = None
    """Where the ControlNet lies inside it."""
    controlnet_revision: Revision | None = None
    """As `model_revision`, of `controlnet`."""
    control_mode: Annotated[int, Field(ge=0)] | None = None
    """Of a ControlNet that knows several kinds of conditions: the number of the one for segmentation; null for one that
    knows one kind, and where a known checkpoint says it."""


class SDXLSettings(TextToImageSettings):
    """Stable Diffusion XL with a ControlNet, or with the union ControlNet."""

    kind: Literal["sdxl"] = "sdxl"
    schedule: Literal["ddim", "dpm-solver"] = "ddim"
    """How steps are spaced over the noise levels; 'dpm-solver' goes with that sampler."""


class SD3Settings(TextToImageSettings):
    """Stable Diffusion 3 or 3.5 with a ControlNet."""

    kind: Literal["sd3"] = "sd3"
    t5: bool = True
    """Read prompts with the T5 encoder too; without it 4.8 billion weights less are loaded, and a prompt ends after the
    77 tokens that CLIP reads."""


class FluxSettings(TextToImageSettings):
    """FLUX.1 with a ControlNet."""

    kind: Literal["flux"] = "flux"
    distilled_guidance: NotNegative = 3.5
    """The guidance scale that FLUX.1-dev is told, which costs nothing; `synthesize.guidance_scale` is that of
    classifier-free guidance on top, a second pass a step: set it to 1 for none."""
