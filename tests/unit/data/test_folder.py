"""Any folder by a YAML file: index and colour masks drawn on the spot, and a sentence for every mistake."""

import json
import os
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import ConfigError, DataError
from d3s2.data.catalogue import open_dataset, splits_of
from d3s2.data.dataset import SegmentationDataset
from d3s2.data.folder import read_palette

COLOURS = {"road": (128, 64, 128), "car": (0, 0, 142), "sky": (70, 130, 180)}
TRAIN_IDS = np.random.default_rng(0).integers(0, 3, (12, 16), dtype=np.uint8)


def write_yaml(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return str(path)


def draw_pair(folder: Path, name: str, mask: np.ndarray) -> None:
    for side, array in (("images", np.zeros((12, 16, 3), dtype=np.uint8)), ("masks", mask)):
        (folder / side).mkdir(exist_ok=True)
        Image.fromarray(array).save(folder / side / f"{name}.png")


def refused(folder: Path, text: str) -> str:
    name = write_yaml(folder, text)
    with pytest.raises((ConfigError, DataError)) as error:
        open_dataset(name, "train")
    return str(error.value).replace(f"{name}: ", "", 1)


def opened(folder: Path, text: str, split: str = "train") -> SegmentationDataset:
    return open_dataset(write_yaml(folder, text), split)


BASIC = """
    name: mine
    classes: [road, car, sky]
    images: {folder: images}
    masks: {folder: masks}
    splits: {train: }
    """


def test_index_masks_are_read_as_they_are(tmp_path: Path):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    dataset = opened(tmp_path, BASIC)
    assert (dataset.name, dataset.ids, dataset.space.names) == ("mine/train", ("a",), ("road", "car", "sky"))
    assert (dataset.mask("a") == TRAIN_IDS).all()
    assert dataset.image("a").shape == (12, 16, 3)


def test_raw_ids_may_name_classes_and_several_values_one_class(tmp_path: Path):
    raw = np.array([7, 26, 23, 27, 0], dtype=np.uint8)[np.random.default_rng(1).integers(0, 5, (12, 16))]
    draw_pair(tmp_path, "a", raw)
    text = BASIC.replace(
        "{folder: masks}", "{folder: masks, raw_ids: {7: road, 26: car, 27: 1, 23: sky}, ignore_values: [0]}"
    )
    expected = np.select([raw == 7, (raw == 26) | (raw == 27), raw == 23], [0, 1, 2], 255)
    assert (opened(tmp_path, text).mask("a") == expected).all()


def test_first_value_shifts_the_classes(tmp_path: Path):
    draw_pair(tmp_path, "a", TRAIN_IDS + 1)
    text = BASIC.replace("{folder: masks}", "{folder: masks, first_value: 1, ignore_values: [0]}")
    assert (opened(tmp_path, text).mask("a") == TRAIN_IDS).all()


PALETTES = {
    "inline in order": "[[128, 64, 128], [0, 0, 142], [70, 130, 180]]",
    "inline by name": "{sky: [70, 130, 180], car: [0, 0, 142], road: [128, 64, 128]}",
    "csv": "palette.csv",
    "csv with header": "header.csv",
}


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES.keys())
def test_colour_masks_are_read_by_every_form_of_palette(tmp_path: Path, palette: str):
    table = np.array(list(COLOURS.values()), dtype=np.uint8)
    mask = table[TRAIN_IDS]
    mask[0, 0] = (0, 0, 0)
    draw_pair(tmp_path, "a", mask)
    (tmp_path / "palette.csv").write_text("\n".join(f"{name}, {r}, {g}, {b}" for name, (r, g, b) in COLOURS.items()))
    rows = [f"{b},{g},{r},{name},x" for name, (r, g, b) in COLOURS.items()]
    (tmp_path / "header.csv").write_text("\n".join(["Blue,Green,Red,Name,Note", *rows]))
    text = BASIC.replace("{folder: masks}", "{folder: masks, encoding: colour, ignore_colours: [[0, 0, 0]]}")
    expected = TRAIN_IDS.copy()
    expected[0, 0] = 255
    assert (opened(tmp_path, text + f"palette: {palette}").mask("a") == expected).all()


def test_a_palette_with_names_gives_the_classes_and_names_left_out_are_ignored(tmp_path: Path):
    draw_pair(tmp_path, "a", np.array(list(COLOURS.values()), dtype=np.uint8)[TRAIN_IDS])
    (tmp_path / "palette.csv").write_text("\n".join(f"{name},{r},{g},{b}" for name, (r, g, b) in COLOURS.items()))
    text = BASIC.replace("{folder: masks}", "{folder: masks, encoding: colour}") + "palette: palette.csv"
    all_of_them = opened(tmp_path, text.replace("classes: [road, car, sky]", ""))
    assert all_of_them.space.names == ("road", "car", "sky")
    two = opened(tmp_path, text.replace("[road, car, sky]", "[sky, road]"))
    assert (two.mask("a") == np.array([1, 255, 0], dtype=np.uint8)[TRAIN_IDS]).all()


def test_splits_by_folder_by_list_and_by_folders_of_their_own(tmp_path: Path):
    for split in ("training", "val", "extra"):
        (tmp_path / "data" / split).mkdir(parents=True)
        draw_pair(tmp_path / "data" / split, f"{split}_1", TRAIN_IDS)
        draw_pair(tmp_path / "data" / split, f"{split}_2", TRAIN_IDS)
    (tmp_path / "data" / "some.txt").write_text("training_2\n")
    (tmp_path / "classes.txt").write_text("road\ncar\n\nsky\n")
    text = """
    name: mine
    root: data
    classes: classes.txt
    images: {folder: "{split}/images", extensions: [png]}
    masks: {folder: "{split}/masks"}
    splits:
      train: {folder: training}
      val:
      few: {folder: training, list_file: some.txt}
      extra: {images: extra/images, masks: extra/masks}
    """
    found = {split: opened(tmp_path, text, split).ids for split in splits_of(write_yaml(tmp_path, text))}
    assert found == {
        "train": ("training_1", "training_2"),
        "val": ("val_1", "val_2"),
        "few": ("training_2",),
        "extra": ("extra_1", "extra_2"),
    }


def test_a_root_in_the_call_takes_the_place_of_the_files_own(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    draw_pair(tmp_path / "elsewhere", "a", TRAIN_IDS)
    assert open_dataset(write_yaml(tmp_path, BASIC), "train", tmp_path / "elsewhere").ids == ("a",)


def test_mistakes_in_the_file_are_named(tmp_path: Path):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    assert refused(tmp_path, BASIC.replace("{folder: masks}", "{foldr: masks}")) == (
        "Unknown key 'masks.foldr', did you mean 'folder'?"
    )
    assert refused(tmp_path, BASIC.replace("classes: [road, car, sky]", "")) == (
        "there are no class names; give classes as a list, as a text file with one name a line, or give a palette with "
        "names."
    )
    assert refused(tmp_path, BASIC.replace("[road, car, sky]", "names.txt")) == (
        f"there is no classes file 'names.txt', expected {tmp_path / 'names.txt'}."
    )
    assert refused(tmp_path, BASIC.replace("{folder: masks}", "{folder: masks, encoding: colour}")) == (
        "masks.encoding is colour, so a palette is needed: a CSV file, or colours inline."
    )
    assert refused(tmp_path, BASIC + "palette: {road: [1, 2, 3], cars: [2, 3, 4], sky: [3, 4, 5]}") == (
        "class 'car' has no colour in the palette, did you mean 'cars'?"
    )
    assert refused(tmp_path, BASIC.replace("{folder: masks}", "{folder: masks, raw_ids: {1: raod}}")) == (
        "masks.raw_ids gives value 1 to 'raod', which is no class, did you mean 'road'?"
    )
    assert refused(tmp_path, BASIC.replace("{folder: masks}", "{folder: masks, extensions: [jpg]}")) == (
        "masks cannot be JPEG, which changes label values; make them again as PNG."
    )
    assert refused(tmp_path, BASIC.replace("{folder: images}", '{pattern: "left"}')) == (
        "pattern 'left' must hold one '*', which stands for what image and mask share."
    )
    assert refused(tmp_path, BASIC + "palette: [[1, 2, 3]]") == (
        "mine: the palette has 1 colours for 3 classes; give one each."
    )


def test_two_classes_of_one_colour_cannot_be_read_from_colours(tmp_path: Path):
    draw_pair(tmp_path, "a", np.zeros((12, 16, 3), dtype=np.uint8))
    text = BASIC.replace("{folder: masks}", "{folder: masks, encoding: colour}")
    dataset = opened(tmp_path, text + "palette: [[9, 9, 9], [9, 9, 9], [0, 0, 0]]")
    with pytest.raises(DataError, match=r"classes 'road' and 'car' have one colour \(9, 9, 9\)"):
        dataset.mask("a")


def test_a_colour_outside_the_palette_is_named_with_its_place(tmp_path: Path):
    mask = np.zeros((12, 16, 3), dtype=np.uint8)
    mask[3, 5] = (1, 2, 3)
    draw_pair(tmp_path, "a", mask)
    text = BASIC.replace("{folder: masks}", "{folder: masks, encoding: colour}")
    dataset = opened(tmp_path, text + "palette: [[0, 0, 0], [9, 9, 9], [8, 8, 8]]")
    with pytest.raises(DataError) as error:
        dataset.mask("a")
    assert str(error.value).startswith(f"{tmp_path / 'masks' / 'a.png'}: colour (1, 2, 3) at row 3, column 5 is not in")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("road,1,2", "{}, line 1: found road,1,2, expected name,r,g,b with 0 to 255."),
        ("road,1,2,256", "{}, line 1: found road,1,2,256, expected name,r,g,b with 0 to 255."),
        ("road,1,2,3\nroad,4,5,6", "{}, line 2: 'road' is there twice; names must differ."),
        ("name,red,green\nroad,1,2", "{}: the header name,red,green has no column b, expected name,r,g,b."),
        ("", "{}: holds no colour, expected lines of name,r,g,b."),
        (",,,\n\n", "{}: holds no colour, expected lines of name,r,g,b."),
        ("road,1,2,3,4", "{}, line 1: found road,1,2,3,4, expected name,r,g,b with 0 to 255."),
        ("name,r,g,b\nroad,1,2,3,4", "{}, line 2: found road,1,2,3,4, expected name,r,g,b with 0 to 255."),
        ("road,²,³,¹", "{}, line 1: found road,²,³,¹, expected name,r,g,b with 0 to 255."),
        ("a,1,2,3\nroad,١,٢,٣", "{}, line 2: found road,١,٢,٣, expected name,r,g,b with 0 to 255."),
        ("road,+1,2,3", "{}, line 1: found road,+1,2,3, expected name,r,g,b with 0 to 255."),
        (
            "road,1,2," + 5_000 * "0",
            "{}, line 1: found road,1,2," + 5_000 * "0" + ", expected name,r,g,b with 0 to 255.",
        ),
        ('\n"road,1,2,3\ncar,1,2,3\n', "{}, line 3: cannot be read as CSV (unexpected end of data)."),
    ],
)
def test_mistakes_in_a_palette_file_are_named(tmp_path: Path, content: str, message: str):
    path = tmp_path / "palette.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_palette(path)
    assert str(error.value) == message.format(path)


def test_a_palette_with_empty_columns_at_the_end_is_read(tmp_path: Path):
    path = tmp_path / "palette.csv"
    path.write_text("\ufeffroad,1,2,3,,\r\n\r\n , \r\ncar,003,4,5,,\r\n", encoding="utf-8")
    assert read_palette(path) == {"road": (1, 2, 3), "car": (3, 4, 5)}


@pytest.mark.parametrize(
    ("key", "what"), [("classes", "a list of classes"), ("palette", "a palette"), ("list_file", "a list of pairs")]
)
def test_files_that_are_not_utf_8_are_named_and_a_byte_order_mark_is_none_of_the_text(
    tmp_path: Path, key: str, what: str
):
    draw_pair(tmp_path, "straße", TRAIN_IDS)
    content = {
        "classes": "straße\ncar\nsky\n",
        "palette": "straße,1,2,3\ncar,2,2,3\nsky,3,2,3\n",
        "list_file": "straße\n",
    }
    text = BASIC.replace("road", "straße")
    if key == "classes":
        text = text.replace("[straße, car, sky]", "file.txt")
    elif key == "palette":
        text += "palette: file.txt"
    else:
        text = text.replace("{train: }", "{train: {list_file: file.txt}}")
    path = tmp_path / "file.txt"
    path.write_text(content[key], encoding="utf-8-sig")
    dataset = opened(tmp_path, text)
    assert (dataset.ids, dataset.space.names) == (("straße",), ("straße", "car", "sky"))
    path.write_text(content[key], encoding="latin-1")
    with pytest.raises((ConfigError, DataError)) as error:
        opened(tmp_path, text)
    assert str(error.value) == (
        f"{path}: line 1 is not UTF-8 (byte 0xdf at 4), expected {what} in UTF-8; save it in that encoding."
    )


def test_a_pipe_in_place_of_a_file_is_no_file(tmp_path: Path):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path, BASIC.replace("[road, car, sky]", "pipe")).startswith("there is no classes file 'pipe'")
    assert refused(tmp_path, BASIC + "palette: pipe").startswith("there is no palette file 'pipe'")
    listed = BASIC.replace("{train: }", "{train: {list_file: pipe}}")
    assert refused(tmp_path, listed) == f"mine/train: there is no list file, expected {tmp_path / 'pipe'}."


@pytest.mark.parametrize("name", [5_000 * "x", "a\0b"])
def test_a_name_that_no_file_can_have_is_named(tmp_path: Path, name: str):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    quoted = json.dumps(name)
    assert refused(tmp_path, BASIC.replace("[road, car, sky]", quoted)).startswith("there is no classes file")
    assert "there is no folder of masks" in refused(tmp_path, BASIC.replace("{folder: masks}", f"{{folder: {quoted}}}"))
    assert "there is no folder" in refused(tmp_path, BASIC + f"root: {quoted}")


@pytest.mark.parametrize("separator", ["\u2028", "\x0b", "\x85", "\x1e"])
def test_a_class_list_has_one_name_a_line_and_no_line_within_a_name(tmp_path: Path, separator: str):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    (tmp_path / "classes.txt").write_text(f"road{separator}side\r\ncar\rsky\n", encoding="utf-8", newline="")
    text = refused(tmp_path, BASIC.replace("[road, car, sky]", "classes.txt"))
    assert f"holds the control character U+{ord(separator):04X}" in text


def test_values_that_no_mask_can_hold_are_named(tmp_path: Path):
    draw_pair(tmp_path, "a", TRAIN_IDS)
    for value in (-5, 65_536, 10**18):
        text = BASIC.replace("{folder: masks}", f"{{folder: masks, ignore_values: [{value}]}}")
        assert refused(tmp_path, text).startswith(f"mine: ignored value {value} is outside 0..65535")
        text = BASIC.replace("{folder: masks}", f"{{folder: masks, raw_ids: {{{value}: road}}}}")
        assert refused(tmp_path, text).startswith(f"mine: raw id {value} is outside 0..65535")
