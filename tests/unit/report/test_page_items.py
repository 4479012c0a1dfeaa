"""Records of items: what they say of the pixels, how small their pictures are, and that no name harms the page."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.metrics.counting import confusion_matrix
from d3s2.report.gallery import GalleryRow
from d3s2.report.items import PackedItems, PageItem, misread_table, pack
from d3s2.report.pictures import ENCODINGS, MARK, Encoding, image_uri, mask_uri

SPACE = LabelSpace("three", ("a", "b", "c"), palette=((9, 9, 9), (10, 200, 30), (9, 9, 9)))
MASK = np.array([[0, 0, 1, IGNORE], [0, 1, 1, 2]], np.uint8)
OPINION = np.array([[0, 1, 1, 2], [0, 0, 1, 1]], np.uint8)
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
ITEM = PageItem(
    "x", "mask/x", GalleryRow(MASK, guided=IMAGE, opinion=OPINION), "b", 1, {"segmentation": 2.0}, {"segmentation": 0.5}
)


def packed(*items: PageItem, space: LabelSpace = SPACE) -> PackedItems:
    return pack(len(items), items.__getitem__, space)


def picture(uri: str) -> Image.Image:
    assert uri.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pairs_are_the_confusion_matrix_and_disagreement_its_share_outside_the_diagonal() -> None:
    torch = pytest.importorskip("torch")
    record = packed(ITEM).records[0]
    counted = confusion_matrix(torch.from_numpy(OPINION), torch.from_numpy(MASK), 3)
    assert {(true, seen): pixels for true, seen, pixels in record.pairs} == {
        (true, seen): counted[true, seen] for true, seen in np.argwhere(counted).tolist()
    }
    assert record.disagreement == pytest.approx(3 / 7, abs=1e-6)


def test_pictures_show_what_the_item_holds() -> None:
    shown = packed(ITEM).records[0].pictures
    assert list(shown) == ["mask", "guided", "opinion", "misread"]
    assert (np.asarray(picture(shown["guided"]).convert("RGB")) == IMAGE).all()
    assert (np.asarray(picture(shown["mask"]).convert("RGB")) == SPACE.encode_colours(MASK)).all()
    assert (np.asarray(picture(shown["opinion"]).convert("RGB")) == SPACE.encode_colours(OPINION)).all()
    marks = np.asarray(picture(shown["misread"]).convert("RGBA"))
    wrong = (MASK != OPINION) & (MASK != IGNORE)
    assert (marks[..., 3] == np.where(wrong, 255, 0)).all()
    assert (marks[wrong, :3] == MARK).all()
    assert all(picture(shown[name]).mode == "P" for name in ("mask", "opinion", "misread"))


def test_an_item_without_a_scored_pixel_has_no_disagreement() -> None:
    nothing = replace(ITEM.pictures, mask=np.full((2, 4), IGNORE, np.uint8))
    record = packed(replace(ITEM, pictures=nothing)).records[0]
    assert (record.disagreement, record.pairs) == (None, ())


def test_energies_that_are_no_numbers_are_left_out() -> None:
    record = packed(replace(ITEM, energies={"a": float("nan"), "b": float("inf"), "c": 1.0})).records[0]
    assert record.energies == {"c": 1.0}


@pytest.mark.parametrize("evil", ["</script><script>alert(1)</script>", "<!--<script>", "]]>&lt;", "\\ \" '"])
def test_no_name_ends_the_script_element(evil: str) -> None:
    named = replace(ITEM, item_id=evil, source_id=evil, chosen_for=evil, energies={evil: 1.0})
    text = packed(named, space=LabelSpace("evil", (evil, "b", "c"))).as_json
    assert not set("<>&") & set(text)
    assert text.isascii()
    read = json.loads(text)
    assert read["classes"][0]["name"] == read["items"][0]["chosen_for"] == evil
    assert read["items"][0]["energies"] == {evil: 1.0}


def test_the_table_of_misreadings_names_the_most_pixels_first() -> None:
    table = misread_table(packed(ITEM, ITEM))
    assert table.rows == (
        ("a", "b", "33.3 %", "14.29 %", "2"),
        ("b", "a", "33.3 %", "14.29 %", "2"),
        ("c", "b", "100.0 %", "14.29 %", "2"),
    )


def test_pictures_shrink_until_all_items_fit() -> None:
    scenes = Scenes("val", 2, (128, 192))
    rows = [GalleryRow(scenes.mask(i), scenes.image(i), opinion=scenes.mask(i)) for i in scenes.ids]
    items = [PageItem(item_id, item_id, row) for item_id, row in zip(scenes.ids, rows, strict=True)]
    found = [
        pack(100, lambda position: items[position % 2], scenes.space, max_bytes)
        for max_bytes in (20_000_000, 600_000, 1_000)
    ]
    sizes = [len(one.as_json) for one in found]
    sides = [one.encoding.shown_px((128, 192)) for one in found]
    assert sizes[0] > 600_000 > sizes[1] > sizes[2]
    assert sides[0] == (128, 192) > sides[1] > sides[2] == (64, 96)
    assert found[-1].encoding == ENCODINGS[-1]
    assert "brought from 128 x 192 to 64 x 96 px" in found[-1].how_stored
    assert "at their 128 x 192 px" in found[0].how_stored


def test_small_pictures_are_stored_without_loss_and_large_ones_never_enlarged() -> None:
    scenes = Scenes("val", 1)
    row = GalleryRow(scenes.mask("000000"), scenes.image("000000"), opinion=scenes.mask("000000"))
    record = packed(PageItem("x", "x", row), space=scenes.space).records[0]
    assert (np.asarray(picture(record.pictures["real"])) == scenes.image("000000")).all()
    assert picture(image_uri(scenes.image("000000"), Encoding(4000, 80))).size == (96, 64)


def test_reduced_masks_mix_no_classes() -> None:
    scenes = Scenes("val", 1, (128, 192))
    shown = picture(mask_uri(scenes.mask("000000"), scenes.space, Encoding(50, 80))).convert("RGB")
    assert shown.size == (50, 33)
    colours = {tuple(colour) for colour in np.asarray(shown).reshape(-1, 3).tolist()}
    present = np.unique(scenes.mask("000000"))
    assert colours <= {tuple(scenes.space.colours[index].tolist()) for index in present}


def test_the_same_items_give_the_same_bytes() -> None:
    assert packed(ITEM).as_json == packed(ITEM).as_json
