"""The generators that are known, by kind; which settings each reads."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, SerializeAsAny

from d3s2.base.config import build
from d3s2.base.tables import Table, is_outside
from d3s2.generator.compact.settings import CompactSettings
from d3s2.generator.settings import LayoutToImageSettings
from d3s2.generator.stable_diffusion.settings import ControlNetSettings, FreestyleSettings
from d3s2.generator.text_to_image.settings import FluxSettings, SD3Settings, SDXLSettings

KNOWN: dict[str, tuple[type[LayoutToImageSettings], str]] = {
    "compact": (CompactSettings, "d3s2.generator.compact.kind:COMPACT"),
    "controlnet": (ControlNetSettings, "d3s2.generator.stable_diffusion.controlnet_kind:CONTROLNET"),
    "freestyle": (FreestyleSettings, "d3s2.generator.stable_diffusion.freestyle:FREESTYLE"),
    "sdxl": (SDXLSettings, "d3s2.generator.text_to_image.sdxl:SDXL_KIND"),
    "sd3": (SD3Settings, "d3s2.generator.text_to_image.sd3:SD3_KIND"),
    "flux": (FluxSettings, "d3s2.generator.text_to_image.flux:FLUX_KIND"),
}
"""Kind -> its settings, and where its `GeneratorKind` lies; importing the kind itself takes seconds."""

GENERATORS: Table[Any] = Table(
    "generator", {kind: place for kind, (_, place) in KNOWN.items()}, needs=("settings", "load")
)
"""A `GeneratorKind` each (`d3s2.generator.layout_to_image`)."""

LIGHT = {kind: settings for kind, (settings, _) in KNOWN.items()}
"""Kinds whose settings are known without importing the kind itself."""


class UnloadedSettings(LayoutToImageSettings):
    """Settings of a kind of the user's own as a file holds them; its code was not imported, so no value is checked."""

    model_config = ConfigDict(extra="allow")


def unloaded(values: Any) -> Any:
    """The same for `settings_of`, which then imports no code that `values` name.

    For reading what a run left on disk: only a run file that the user names may name code.
    """
    if isinstance(values, Mapping) and is_outside(str(values.get("kind"))):
        return build(UnloadedSettings, values, "", prefix="generator.")
    return values


def settings_of(values: Any) -> Any:
    """The settings record of the kind that `values` name, `compact` where they name none.

    Raises:
        UsageError: the kind is unknown; ConfigError: a key or value is wrong.
    """
    if not isinstance(values, Mapping):
        return values
    kind = str(values.get("kind", "compact"))
    settings = LIGHT.get(kind) or GENERATORS.load(kind).settings
    return build(settings, values, "", prefix="generator.")


GeneratorSettings = Annotated[SerializeAsAny[LayoutToImageSettings], BeforeValidator(settings_of)]
"""A field that holds the settings of any kind."""
