import numpy as np
import pytest
import torch

from d3s2.base.errors import ModelError, UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.label_space import LabelSpace
from d3s2.generator.conditions.palettes import PALETTES, colour_condition, colour_table, palette_colours

STREET = LabelSpace(name="street", names=("road", "sky", "person"))


def test_tables_have_the_published_number_of_classes_and_colours() -> None:
    ade = palette_colours("ade20k")
    assert len(ade) == 150
    assert len(set(ade.values())) == 149  # road and skyscraper
    coco = palette_colours("coco-panoptic")
    assert len(set(coco.values())) == 133 + 1  # and black


def test_every_palette_knows_a_person() -> None:
    assert {name: palette_colours(name)["person"] for name in PALETTES} == {
        "ade20k": (150, 5, 61),
        "controlnet-plus-plus-ade20k": (150, 5, 61),
        "coco-panoptic": (220, 20, 60),
    }


def test_table_follows_names_not_positions() -> None:
    table = colour_table(STREET, "ade20k", {})
    assert table[:3].tolist() == [[140, 140, 140], [6, 230, 230], [150, 5, 61]]
    assert not table[IGNORE].any()


def test_spelling_and_synonyms_do_not_matter() -> None:
    space = LabelSpace(name="x", names=("Traffic_Light", "bed ", "sky;heaven", "wall-brick"))
    assert colour_table(space, "coco-panoptic", {"sky;heaven": "sky-other"})[:4].tolist() == [
        [250, 170, 30],
        [119, 0, 170],
        [70, 130, 180],
        [137, 54, 74],
    ]


def test_finer_classes_take_the_colour_that_covers_them() -> None:
    space = LabelSpace(name="x", names=("bush", "moss"))
    assert colour_table(space, "coco-panoptic", {})[:2].tolist() == [[107, 142, 35], [152, 251, 152]]


def test_own_palette_is_the_label_space() -> None:
    assert np.array_equal(colour_table(STREET, "label-space", {})[:3], STREET.colours)


def test_two_classes_of_one_colour_are_refused_unless_accepted() -> None:
    space = LabelSpace(name="town", names=("road", "skyscraper"))
    with pytest.raises(ModelError, match=r"'road' and 'skyscraper' of town one colour \(140, 140, 140\)"):
        colour_table(space, "ade20k", {})
    assert colour_table(space, "ade20k", {}, shared_colours=True)[1].tolist() == [140, 140, 140]


def test_classes_without_a_colour_are_listed() -> None:
    space = LabelSpace(name="scan", names=("persons", *"abcdef"))
    with pytest.raises(
        ModelError,
        match=r"no colour for 7 of 7 classes of scan: 'persons', 'a', 'b', 'c', 'd' and 2 more; .*'persons': 'person'",
    ):
        colour_table(space, "ade20k", {})


def test_mapping_of_an_unknown_class_names_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"'rode' is no class of street\. Did you mean 'road'"):
        colour_table(STREET, "ade20k", {"rode": "road"})


def test_unknown_palette_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Unknown palette 'ade': known are ade20k, coco-panoptic"):
        colour_table(STREET, "ade", {})


def test_condition_holds_only_colours_of_the_table() -> None:
    masks = torch.randint(0, 3, (2, 16, 24), dtype=torch.uint8)
    masks[0, 0, 0] = IGNORE
    table = colour_table(STREET, "ade20k", {})
    condition = colour_condition(masks, table)
    back = (condition * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(back, table[masks.numpy()])
