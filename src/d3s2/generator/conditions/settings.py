"""Settings of what a ControlNet is told of a mask; light to import."""

from collections.abc import Mapping, Sequence

from pydantic import field_validator

from d3s2.base.ranges import NotNegative
from d3s2.generator.settings import LayoutToImageSettings

CLASSES_PLACE = "{classes}"  # in a prompt's template, where the classes go


class ConditionSettings(LayoutToImageSettings):
    """Of generators that read a mask as a picture in colours and as a prompt."""

    palette: str | None = None
    """A palette's name (docs/generators.md), or 'label-space'; null takes the one that a known checkpoint was fitted
    with."""
    class_names: Mapping[str, str] = {}
    """Class of the label space -> class of the palette, for names that differ."""
    shared_colours: bool = False
    """Accept classes that the palette cannot tell apart."""
    template: str = f"a photo of {CLASSES_PLACE}"
    """Of the prompt; '{classes}' becomes the classes present."""
    negative_prompt: str = ""
    """What classifier-free guidance leads away from."""
    words: Mapping[str, str] = {}
    """Class -> what the prompt says for it, where its name says little."""
    rarity: tuple[float, ...] | None = None
    """How common each class is in the data set, by train id; where not all classes fit into the prompt, the rarest are
    kept. null takes the number of masks from the census."""
    conditioning_scale: NotNegative = 1.0
    """Strength of the ControlNet, 1 is as fitted."""

    def informed(self, images_per_class: Sequence[int]) -> "ConditionSettings":
        given = self.rarity is not None
        return self if given else self.model_copy(update={"rarity": tuple(map(float, images_per_class))})

    @field_validator("template")
    @classmethod
    def _has_place(cls, template: str) -> str:
        if CLASSES_PLACE not in template:
            raise ValueError(f"Expected {CLASSES_PLACE} in the template, where the classes go")
        return template
