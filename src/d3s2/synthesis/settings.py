"""Settings of guided sampling, and the guidance rules that are known."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import UNTOUCHED
from d3s2.base.ranges import Deviation, NotNegative, Positive, Share
from d3s2.base.tables import Table
from d3s2.generator import NoiseWindow
from d3s2.teacher import ENERGIES, ViewSettings

RULES: Table[Callable[..., Any]] = Table(
    "guidance rule",
    {
        "fast": "d3s2.synthesis.rules:fast",
        "full": "d3s2.synthesis.rules:full",
        "both": "d3s2.synthesis.rules:both",
    },
)
"""A `Rule` of `d3s2.synthesis.rules`: from a noisy latent to the prediction and the directions to leave it by."""


class GuidanceSettings(Config):
    """How the teacher guides; docs/guidance.md has the formulas."""

    renamed: ClassVar[Mapping[str, str]] = {
        "mode": "rule",
        "l_seg": "energies.segmentation",
        "l_feat": "energies.features",
        "by_class": "energies.segmentation-by-pixel",
        **{key: f"views.{key}" for key in ("shift_px", "noise", "flip")},
    }

    strength: Annotated[float, Field(ge=0, le=100)] = 0.1
    """Each step of guidance as a fraction of the model's own update; 0 is no guidance."""
    rule: Annotated[str, AfterValidator(RULES.check)] = "fast"
    """`fast` takes the gradient by the prediction, `full` the one through the diffusion network, `both` adds them;
    or an own rule as `package.module:object` (docs/extending.md)."""
    energies: Mapping[Annotated[str, AfterValidator(ENERGIES.check)], NotNegative] = Field(
        default_factory=lambda: {"segmentation": 1.0, "features": 0.1}
    )
    """Energy -> its weight in the sum that guidance lowers; one of weight 0 is only recorded. Own ones as
    `package.module:object` (docs/extending.md)."""
    full_share: Share = 0.5
    """With rule `both`: part of the strength that goes through the network; 0 is `fast`, 1 is `full`."""
    window: NoiseWindow = NoiseWindow()
    """Shares of noise [cleanest, noisiest] between which guidance acts and steps are repeated; 1 is pure noise."""
    inner_steps: Positive = 1
    """Gradients by the prediction at each step, each of the same size; they share the strength."""
    smoothing: Deviation = 0.0
    """Noise on the prediction when its energy is taken, its deviation as a share of the level's noise; 0 is none."""
    smoothing_draws: Positive = 1
    """How many such noises the energy is averaged over; each costs a whole energy."""
    every: Positive = 1
    """A gradient is taken at every n-th step of the window."""
    hold: bool = False
    """Reuse the last gradient at the steps between; they are unguided otherwise."""
    views: ViewSettings = ViewSettings()
    """How images are perturbed before the teacher sees them."""

    @model_validator(mode="after")
    def _something_guides(self) -> "GuidanceSettings":
        if self.strength > 0 and not any(self.energies.values()):
            raise ValueError(
                "energies has no weight above 0, so nothing would guide; give one of them a weight, or set strength "
                "to 0"
            )
        return self


class SoftSettings(Config):
    """The teacher's distribution on each finished image, stored beside its mask."""

    num_top: Annotated[int, Field(ge=1, le=255)] = 4
    """The most probable classes that are kept in a cell."""
    cell_px: Positive | None = None
    """Height and width of a cell, in pixels of the image; null: a 64th of the picture's smaller side, at least 1 px."""


class SynthesizeSettings(Config):
    """Stage 2: one image a mask."""

    sampler: Literal["ddim", "dpm-solver-2m"] = "ddim"
    """How sampling walks from noise to an image."""
    steps: Positive = 24
    """Evaluations of the diffusion network for an image."""
    eta: Share = 0.0
    """Share of fresh noise a step: 0 is deterministic, 1 has DDPM's variance; for the sampler ddim."""
    guidance_scale: Annotated[float, Field(ge=0, le=100)] = 1.5
    """Classifier-free guidance; 1 switches it off."""
    batch: Positive = 10
    """Masks that are one piece of work."""
    start: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of noise that sampling starts with: 1 is noise alone; below it each item starts from the real image of its
    mask with so much noise upon it and takes the steps that are left. The page tells which items are near-copies."""
    candidates: Positive = 1
    """Guided images made for each mask, from as many noises; the one that the teacher agrees with most is kept."""
    guidance: GuidanceSettings = GuidanceSettings()
    """How the teacher guides."""
    repeats: Positive = 1
    """Time travel: how often each step that starts in `guidance.window` is taken."""
    filter: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Pixels become 255 where the teacher's loss exceeds this times the class's mean on real data; null keeps all."""
    soft: SoftSettings | None = None
    """Soft labels beside the masks; null stores none, {} stores them with the defaults of its keys."""
    unguided_too: bool = True
    """Also writes the set without guidance, for comparison."""
    trace_every: Annotated[int, Field(ge=0, json_schema_extra=UNTOUCHED)] = 1
    """Energies are taken at every n-th step, for the page's curves; 0 at none. No image depends on it."""
    measure_cost: bool = Field(default=False, json_schema_extra=UNTOUCHED)
    """Also measures what guidance costs, `fast` and `full` against unguided, on four of the masks."""

    @property
    def soft_or_defaults(self) -> SoftSettings:
        """How soft labels are made, also where the set itself has none."""
        return self.soft or SoftSettings()

    @property
    def steps_taken(self) -> float:
        """Steps that are left from `start` on, for plans: exact where levels are evenly spaced in noise."""
        return self.steps * self.start

    @model_validator(mode="after")
    def _eta_is_for_ddim(self) -> "SynthesizeSettings":
        if self.eta and self.sampler != "ddim":
            raise ValueError(
                f"synthesize.eta is {self.eta:g}, but the sampler {self.sampler} is deterministic; set eta to 0, or "
                "the sampler to ddim"
            )
        return self
