"""The gallery shows pixels as they are, only larger."""

import io

import numpy as np
import pytest
from PIL import Image

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.data.label_space import LabelSpace
from d3s2.report.gallery import MARGIN_PX, Gallery, GalleryRow, gallery_png

SCENES = Scenes("train", 3)
ROWS = tuple(
    GalleryRow(SCENES.mask(i), unguided=SCENES.image(i), guided=255 - SCENES.image(i), opinion=SCENES.mask(i), note=i)
    for i in SCENES.ids
)


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_tiles_are_enlarged_by_whole_pixels() -> None:
    shown = picture(gallery_png(Gallery(ROWS[:1], SCENES.space)))
    top = MARGIN_PX + 34
    mask = shown[top : top + 192, MARGIN_PX : MARGIN_PX + 288]
    assert (mask[1::3, 1::3] == SCENES.space.encode_colours(ROWS[0].mask)).all()
    guided = shown[top : top + 192, MARGIN_PX + 2 * 300 : MARGIN_PX + 2 * 300 + 288]
    assert (guided[0::3, 2::3] == ROWS[0].guided).all()


def test_columns_that_no_row_fills_are_left_out() -> None:
    assert Gallery(ROWS, SCENES.space).columns == ("mask", "unguided", "guided", "opinion")
    only = Gallery((GalleryRow(ROWS[0].mask),), SCENES.space)
    assert only.columns == ("mask",)
    assert picture(gallery_png(only)).shape[1] == 288 + 2 * MARGIN_PX


def test_a_picture_missing_in_one_row_leaves_its_place_empty() -> None:
    shown = picture(gallery_png(Gallery((ROWS[0], GalleryRow(ROWS[1].mask)), SCENES.space)))
    second_row = MARGIN_PX + 34 + 192 + 12 + 24
    assert (shown[second_row : second_row + 192, MARGIN_PX + 300 : MARGIN_PX + 588] == 255).all()


def test_large_pictures_are_brought_down_and_any_shape_fits() -> None:
    wide = GalleryRow(np.zeros((40, 900), np.uint8), real=np.full((40, 900, 3), 7, np.uint8))
    tall = GalleryRow(np.zeros((600, 33), np.uint8))
    space = LabelSpace("one", ("a",))
    assert picture(gallery_png(Gallery((wide,), space))).shape[1] == 2 * 288 + 12 + 2 * MARGIN_PX
    assert picture(gallery_png(Gallery((tall,), space))).shape[1] == 9 * 33 + 2 * MARGIN_PX


def test_the_legend_names_the_classes_of_the_masks_by_area() -> None:
    mask = np.array([[2, 2, 2], [0, 0, IGNORE]], np.uint8)
    gallery = Gallery((GalleryRow(mask),), LabelSpace("three", ("a", "b", "c")))
    assert gallery.classes() == (2, 0)
    assert gallery.classes(limit=1) == (2,)


def test_a_gallery_has_the_same_bytes_twice() -> None:
    assert gallery_png(Gallery(ROWS, SCENES.space)) == gallery_png(Gallery(ROWS, SCENES.space))


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^A gallery needs at least one row; choose items to show\.$"):
        Gallery((), SCENES.space)
