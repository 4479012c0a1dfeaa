"""Settings of the teacher, and the energies that are known."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from d3s2.base.config import Config
from d3s2.base.fingerprint import touches
from d3s2.base.ranges import Deviation, Positive
from d3s2.base.tables import Table
from d3s2.hub import Revision

ENERGIES: Table[Callable[..., Any]] = Table(
    "energy",
    {
        "segmentation": "d3s2.teacher.energies:segmentation",
        "segmentation-by-pixel": "d3s2.teacher.energies:segmentation_by_pixel",
        "features": "d3s2.teacher.energies:features",
    },
)
"""An `Energy` of `d3s2.teacher.energies`: what the teacher sees in images, against their masks, one number an item."""


class ViewSettings(Config):
    """How images are perturbed before the teacher sees them, so that its loss cannot be lowered by texture."""

    count: Annotated[int, Field(ge=0)] = 1
    """Perturbed views whose energies are averaged; 0 takes the image as it is."""
    shift_px: Annotated[int, Field(ge=0)] = 4
    """Largest shift along each axis."""
    noise: Deviation = 0.03
    """Standard deviation of added noise, images in 0..1."""
    flip: bool = True
    """Mirror half of the views."""


class TeacherSettings(Config):
    """The frozen segmentation network that guides: fitted on the training split, or loaded."""

    source: str | None = None
    """A hub id or folder; null fits one on the training split."""
    revision: Revision | None = None
    """Commit, tag or branch of a hub id; null is its main branch."""
    layers: tuple[str, ...] | None = Field(default=None, json_schema_extra=touches("bank", "synthesize"))
    """Whose features are matched; null takes the default of the architecture (docs/networks.md)."""
    label_map: dict[str, str | int | tuple[str | int, ...]] | Literal["in-order"] | None = None
    """For a network of other classes: class of the data set -> its labels (names or ids) that mean it. in-order: its
    labels are the data set's classes in their order, whatever it calls them."""
    size_px: Positive | tuple[Positive, Positive] | None = None
    """What the teacher sees: the shorter side, or height and width in px; null is the working size."""
    allow_pickle: bool = False
    """Also read weights that are not safetensors."""

    @model_validator(mode="after")
    def _only_for_a_source(self) -> "TeacherSettings":
        given = (self.label_map is not None, self.allow_pickle, self.revision is not None)
        if self.source is None and any(given):
            raise ValueError(
                "teacher.label_map, teacher.allow_pickle and teacher.revision are for a network that teacher.source "
                "names"
            )
        return self
