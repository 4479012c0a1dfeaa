import pytest
import torch

from d3s2.base.errors import ModelError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known import ade20k, cocostuff
from d3s2.data.label_space import LabelSpace
from d3s2.generator.conditions.prompts import list_for, pixels_of, prompt_of, spoken, word_list

WORDS = ("wall", "sky", "red lamp", "floor")
PRESENT = {0: 500, 1: 300, 2: 3, 3: 90}


def count(text: str) -> int:
    return len(text.replace(",", " ,").split()) + 2


def made(max_tokens: int, template: str = "a photo of {classes}", rarity: list[float] | None = None) -> str:
    return prompt_of(PRESENT, WORDS, template=template, max_tokens=max_tokens, count_tokens=count, rarity=rarity)


def test_pixels_are_counted_without_ignored_ones() -> None:
    mask = torch.tensor([[2, 2, 0], [IGNORE, 2, 254]], dtype=torch.uint8)
    assert pixels_of(mask) == {0: 1, 2: 3, 254: 1}


def test_all_classes_are_named_in_the_order_of_train_ids_where_they_fit() -> None:
    assert made(77) == "a photo of wall, sky, red lamp, floor"


def test_rarest_classes_are_kept_first() -> None:
    assert made(12) == "a photo of sky, red lamp, floor"
    assert made(9) == "a photo of red lamp, floor"


def test_given_rarity_decides_over_the_pixels_of_the_mask() -> None:
    assert made(9, rarity=[1.0, 0.5, 9.0, 8.0]) == "a photo of wall, sky"


def test_smaller_class_takes_the_room_that_is_left() -> None:
    assert made(8) == "a photo of red lamp"
    assert made(6) == "a photo of floor"


def test_template_that_is_too_long_is_refused() -> None:
    with pytest.raises(ModelError, match="template alone takes 6 tokens, the text encoder reads 5"):
        made(5, template="one two three four {classes}")


def test_names_are_spoken_without_signs_and_synonyms() -> None:
    assert spoken("traffic_light;signal", {}) == "traffic light"
    assert spoken("wall-brick", {}) == "wall brick"
    assert spoken("null", {"null": "background"}) == "background"


@pytest.mark.parametrize(("name", "space"), [("ade20k", ade20k.SPACE), ("cocostuff", cocostuff.SPACE)])
def test_every_class_of_a_known_data_set_has_words(name: str, space: LabelSpace) -> None:
    words = word_list(name)
    assert tuple(words) == space.names
    assert all(text and text == text.strip().lower() for text in words.values())
    assert list_for(space.names) == name
    assert list_for(space.names[1:]) is None


def test_words_are_those_that_freestylenet_was_fitted_with() -> None:
    ade, coco = word_list("ade20k"), word_list("cocostuff")
    assert [ade[name] for name in ("windowpane", "earth", "kitchen island", "crt screen", "step")] == [
        "window", "ground", "kitchen", "screen", "stair",
    ]  # fmt: skip
    assert [coco[name] for name in ("person", "wall-brick", "floor-other", "window-blind", "wood")] == [
        "person", "brick wall", "floor", "blind window", "wood",
    ]  # fmt: skip
    assert sum(spoken(name, {}) != text for name, text in ade.items()) == 19
