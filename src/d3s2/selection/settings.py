"""Settings of the choice of masks, and the methods that are known."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from d3s2.base.config import Config
from d3s2.base.ranges import Positive, Share
from d3s2.base.tables import Table

CoverageKind = Literal["mixed", "presence", "mass"]

METHODS: Table[Callable[[Any], None]] = Table(
    "selection method",
    {
        "class-balanced": "d3s2.selection.greedy:greedy_fast",
        "rarest-first": "d3s2.selection.methods.rarest_first:take_rarest_first",
        "stratified": "d3s2.selection.methods.stratified:take_stratified",
        "random": "d3s2.selection.methods.random_draw:take_random",
        "k-center": "d3s2.selection.methods.k_center:take_k_center",
        "herding": "d3s2.selection.methods.herding:take_herding",
        "facility-location": "d3s2.selection.methods.facility_location:take_facility_location",
        "medoids": "d3s2.selection.methods.medoids:take_medoids",
    },
)
"""A method fills a `Shortlist` by its `offer`."""

FEATURE_METHODS = ("k-center", "herding", "facility-location", "medoids")
"""Those that go by a vector of each mask instead of its classes."""


class SelectSettings(Config):
    """Stage 1: which masks."""

    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Budget as a share of the masks; give this or `num_masks`."""
    num_masks: int | None = None
    """Budget as a number of masks."""
    method: Annotated[str, AfterValidator(METHODS.check)] = "class-balanced"
    """A known name, or an own method as `package.module:object` (docs/extending.md)."""
    features: Literal["census", "teacher"] = "census"
    """What k-center, herding, facility-location and medoids go by: the masks' shares of classes, or the teacher's
    features of the images."""
    coverage: CoverageKind = "mixed"
    """What a mask adds to a class: its presence, its share of pixels, or half of each."""
    min_pixels: Positive = 1
    """A mask covers the classes of which it holds at least so many pixels."""
    strips: Annotated[int, Field(ge=1, le=8)] = 1
    """Above 1 masks are put together: so many vertical strips of equal width, each of some mask and at its own place,
    chosen one position after the other and paired where their seams fit best (docs/selection.md)."""
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of equal cells of a coarse grid from which on two masks count as one, for video; null compares none."""
    class_weights: dict[str, float] = Field(default_factory=dict)
    """Weights of classes in the objective; 1 where none is given."""
    rare_weight: Share = 0.0
    """Weights from the census for all other classes: (0.5 / share of the masks that hold it) ** rare_weight, 1 to 8."""
    group_by: str | None = None
    """A regular expression that finds in each id where its mask comes from (a drive, a patient): each origin is covered
    as a class is. Its first bracket is the name; '^[^_]+' takes what stands before the first underscore."""
    image_groups: Annotated[int, Field(ge=2, le=128)] | None = None
    """Clusters of the training images in the teacher's features, each of which is covered as a class is: they see
    light and texture, which masks do not show (the teacher is loaded or fitted for it first); null makes none."""
    group_weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """What a group counts in the objective, where a class counts 1."""
    force: tuple[str, ...] = ()
    """Ids of masks that are chosen first, in any case."""
    forbid: tuple[str, ...] = ()
    """Ids of masks that are never chosen."""
    force_classes: tuple[str, ...] = ()
    """Classes that at least one chosen mask covers."""
    forbid_classes: tuple[str, ...] = ()
    """Classes of which no chosen mask holds a single pixel."""
    quotas: dict[str, int] = Field(default_factory=dict)
    """Class -> chosen masks that cover it, at least."""
    skip_bad: bool = False
    """Leave masks out that cannot be read, and record them, instead of stopping."""

    @model_validator(mode="after")
    def _whole_masks_are_forced(self) -> "SelectSettings":
        if self.strips > 1 and self.force:
            raise ValueError(
                f"select.force names whole masks, and select.strips is {self.strips}; leave force out, or set "
                "select.strips to 1"
            )
        return self

    @model_validator(mode="after")
    def _features_are_of_whole_masks(self) -> "SelectSettings":
        if self.strips > 1 and self.features == "teacher":
            raise ValueError(
                f"select.features is teacher, which sees whole images, and select.strips is {self.strips}; set "
                "select.features to census, or select.strips to 1"
            )
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> "SelectSettings":
        if self.ratio is None and self.num_masks is None:
            raise ValueError("needs a budget: set ratio or num_masks")
        if self.ratio is not None and self.num_masks is not None:
            raise ValueError("has two budgets, ratio and num_masks: set the one that is not meant to null")
        return self
