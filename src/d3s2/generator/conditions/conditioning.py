"""A mask as a ControlNet reads it: the picture in its colours, and the prompt of the classes present."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.errors import ModelError, UsageError
from d3s2.data import LabelSpace
from d3s2.generator.conditions.palettes import OWN_PALETTE, PALETTES, colour_condition, colour_table
from d3s2.generator.conditions.prompts import CountTokens, pixels_of, prompt_of, spoken
from d3s2.generator.conditions.settings import ConditionSettings
from d3s2.model_cards import MODEL_CARDS


@dataclass(frozen=True)
class Conditioning:
    """How masks of a label space are told to a model.

    Args:
        colours: train id -> RGB of the picture.
        words: what the prompt says for each class.
        settings: of the prompt.
    """

    colours: UInt8[np.ndarray, "256 3"]
    words: tuple[str, ...]
    settings: ConditionSettings

    def prompts(self, masks: UInt8[Tensor, "b h w"], max_tokens: int, count_tokens: CountTokens) -> list[str]:
        """The prompt of each mask, within what the text encoder reads."""
        return [
            prompt_of(
                pixels_of(mask),
                self.words,
                template=self.settings.template,
                max_tokens=max_tokens,
                count_tokens=count_tokens,
                rarity=self.settings.rarity,
            )
            for mask in masks.cpu()
        ]

    def pictures(self, masks: UInt8[Tensor, "b h w"], device: torch.device) -> Float[Tensor, "b 3 h w"]:
        """The masks in the ControlNet's colours, RGB in 0..1."""
        return colour_condition(masks.to(device), self.colours)


def conditioning_of(settings: ConditionSettings, space: LabelSpace, controlnet: str | None) -> Conditioning:
    """How masks of `space` are told to a ControlNet.

    Args:
        controlnet: hub id or folder; None for a new one, which learns the label space's own colours.

    Raises:
        ModelError: the palette or the rarities do not fit the label space.
        UsageError: no palette is asked for, and the checkpoint is not a known one.
    """
    palette = palette_name(settings.palette, controlnet)
    colours = colour_table(space, palette, settings.class_names, settings.shared_colours)
    if settings.rarity is not None and len(settings.rarity) != space.num_classes:
        raise ModelError(
            f"generator.rarity has {len(settings.rarity)} numbers for {space.num_classes} classes of "
            f"{space.name}; give one each."
        )
    return Conditioning(colours, tuple(spoken(name, settings.words) for name in space.names), settings)


def palette_name(asked: str | None, controlnet: str | None) -> str:
    """The palette that is asked for, or that the ControlNet was fitted with; a new one learns the label space's own.

    Raises:
        UsageError: none is asked for, and the checkpoint is not a known one.
    """
    if asked is not None:
        return asked
    if controlnet is None:
        return OWN_PALETTE
    card = MODEL_CARDS.get(controlnet)
    if card is not None and card.palette is not None:
        return card.palette
    raise UsageError(
        f"generator.palette is not set, and the colours that {controlnet} was fitted with are not known: set it "
        f"to one of {', '.join(sorted(PALETTES))}, or to {OWN_PALETTE} for a ControlNet fitted in the label space's "
        "own colours."
    )
