"""Prompts from the classes that are present in a mask, within what the text encoder can read.

Word lists lie in `word_lists/`: a class of a known data set, and the words for it that a model was fine-tuned on.

Source: ade20k and cocostuff, the words of FreestyleNet's training code (ADE20K_dict and COCO_dict in ldm/data of
github.com/essunny310/FreestyleNet, MIT), by label number.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files

import torch
from jaxtyping import UInt8
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.base.train_ids import IGNORE
from d3s2.generator.conditions.settings import CLASSES_PLACE

WORD_LISTS = ("ade20k", "cocostuff")
CountTokens = Callable[[str], int]


def pixels_of(mask: UInt8[Tensor, "h w"]) -> dict[int, int]:
    """Train id -> its pixels, for the classes present, in the order of train ids."""
    counts = torch.bincount(mask.flatten().long(), minlength=IGNORE + 1)[:IGNORE]
    return {int(train): int(counts[train]) for train in counts.nonzero().flatten()}


def spoken(name: str, words: Mapping[str, str]) -> str:
    """What a prompt says for a class: `words`, or the first synonym of its name without '-' and '_'."""
    if name in words:
        return words[name]
    return " ".join(name.replace(";", ",").partition(",")[0].replace("-", " ").replace("_", " ").split())


def word_list(name: str) -> dict[str, str]:
    """Class -> words of a list in `WORD_LISTS`, in the order of train ids."""
    text = (files("d3s2.generator") / "word_lists" / f"{name}.csv").read_text(encoding="utf-8")
    return {row["class"]: row["words"] for row in csv.DictReader(text.splitlines())}


def list_for(class_names: Sequence[str]) -> str | None:
    """The word list that is of exactly these classes; None where there is none."""
    return next((name for name in WORD_LISTS if {*word_list(name)} == {*class_names}), None)


def prompt_of(
    present: Mapping[int, int],
    words: Sequence[str],
    *,
    template: str,
    max_tokens: int,
    count_tokens: CountTokens,
    rarity: Sequence[float] | None = None,
) -> str:
    """The template with the names of the classes present, in the order of train ids.

    Where they are too many for `max_tokens`, the rarest are kept: a lamp that is not named is lost, a wall is not.

    Args:
        present: train id -> pixels.
        words: what the prompt says for each class.
        template: holds '{classes}'.
        max_tokens: what the text encoder reads, its start and end tokens included.
        count_tokens: of a prompt, start and end tokens included.
        rarity: how common each class is in the data set, by train id; without it the pixels here decide.

    Raises:
        ModelError: the template alone is too long.
    """

    def filled(kept: Sequence[int]) -> str:
        return template.replace(CLASSES_PLACE, ", ".join(words[train] for train in sorted(kept)))

    if count_tokens(filled([])) > max_tokens:
        raise ModelError(
            f"generator.template alone takes {count_tokens(filled([]))} tokens, the text encoder reads "
            f"{max_tokens}; shorten it."
        )
    if count_tokens(filled([*present])) <= max_tokens:
        return filled([*present])
    kept: list[int] = []
    common = present if rarity is None else {train: rarity[train] for train in present}
    for train in sorted(present, key=lambda train: (common[train], train)):
        if count_tokens(filled([*kept, train])) <= max_tokens:
            kept.append(train)
    return filled(kept)
