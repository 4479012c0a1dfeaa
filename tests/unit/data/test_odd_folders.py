"""Folders of other tools, and what their files say beside the pictures; data that no split takes is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from unknown_data import COLOURS, SCENES, kinds, put

from d3s2.base.errors import DataError
from d3s2.data.discovery import data_set_file, look


def test_names_in_a_table_of_values_are_taken(tmp_path: Path) -> None:
    for at, one in enumerate(SCENES.ids):
        split = "train" if at < 7 else "valid"
        put(tmp_path / f"{split}/{one}_jpg.rf.a1b2.jpg", SCENES.image(one))
        put(tmp_path / f"{split}/{one}_jpg.rf.a1b2_mask.png", kinds(one))
        (tmp_path / split / "_classes.csv").write_text("Pixel Value, Class\n0, soil\n1, crop\n2, weed\n3, sky\n")
    found = look(tmp_path)
    assert found.names == ("soil", "crop", "weed", "sky")
    assert not found.unknown
    assert "# Names are those of train/_classes.csv." in data_set_file(found, tmp_path / "dataset.yaml")


def test_names_in_a_label_map_are_taken(tmp_path: Path) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"JPEGImages/{one}.jpg", SCENES.image(one))
        put(tmp_path / f"SegmentationClass/{one}.png", COLOURS[kinds(one)])
    rows = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in zip("wxyz", COLOURS.tolist(), strict=True)]
    (tmp_path / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *rows]))
    found = look(tmp_path)
    named = dict(zip(found.names, found.contents.colours, strict=True))
    assert named == {name: tuple(colour) for name, colour in zip("wxyz", COLOURS.tolist(), strict=True)}


def test_a_table_that_lacks_a_value_is_passed_over(tmp_path: Path) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"images/{one}.jpg", SCENES.image(one))
        put(tmp_path / f"masks/{one}.png", kinds(one))
    (tmp_path / "_classes.csv").write_text("Pixel Value, Class\n0, soil\n1, crop\n")
    assert look(tmp_path).names == ("class_0", "class_1", "class_2", "class_3")


def test_a_word_before_the_number_may_differ(tmp_path: Path) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"img/img{one}.tif", SCENES.image(one).mean(axis=2).astype(np.uint16) * 200)
        put(tmp_path / f"label/label{one}.tif", kinds(one))
    found = look(tmp_path)
    assert found.images is not None
    assert found.masks is not None
    assert (found.images.pattern, found.masks.pattern) == ("img*", "label*")


def test_pairs_that_lie_elsewhere_are_named(tmp_path: Path) -> None:
    for at, one in enumerate(SCENES.ids):
        put(tmp_path / f"fold{at % 3}/images/{one}.jpg", SCENES.image(one))
        put(tmp_path / f"fold{at % 3}/masks/{one}.png", kinds(one))
    found = look(tmp_path)
    assert sum(split.num_pairs for split in found.splits.values()) == 4
    assert found.unknown[0].startswith("What 6 images and 6 masks in other folders are for (fold1/images/000001.jpg ")


def test_outlines_in_json_are_no_masks(tmp_path: Path) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"{one}.jpg", SCENES.image(one))
        (tmp_path / f"{one}.json").write_text(json.dumps({"shapes": []}))
    with pytest.raises(DataError, match=r"found 10 images and no mask, but JSON files such as .*draw them as masks"):
        look(tmp_path)


def test_masks_of_single_objects_are_named(tmp_path: Path) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"{one}/images/{one}.jpg", SCENES.image(one))
        for kind in (1, 2):
            put(tmp_path / f"{one}/masks/{kind}.png", (kinds(one) == kind).astype(np.uint8) * 255)
    with pytest.raises(DataError, match=r"whose names are alike; .*Masks of single objects are drawn into one mask"):
        look(tmp_path)


@pytest.mark.parametrize("row", ["9" * 5000 + ", sky", "1;sky", ", sky", "-1, sky"])
def test_a_row_that_is_no_value_and_name_is_passed_over(tmp_path: Path, row: str) -> None:
    for one in SCENES.ids:
        put(tmp_path / f"images/{one}.jpg", SCENES.image(one))
        put(tmp_path / f"masks/{one}.png", kinds(one))
    (tmp_path / "_classes.csv").write_text(f'{row}\n0, soil\n1, crop\n2, weed\n3, "sky, blue"\n')
    assert look(tmp_path).names == ("soil", "crop", "weed", "sky, blue")
