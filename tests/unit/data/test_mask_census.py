"""The record of pixel counts, and the counting of one mask, against loops over classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.base.train_ids import IGNORE
from d3s2.data.census.counts import LAYOUT_SIZE, MaskCensus, census_of, count_item, count_mask
from d3s2.data.dataset import Entry, FileDataset
from d3s2.data.label_space import LabelSpace

NAMES = ("a", "b", "c", "d")


def some_mask(seed: int, height: int = 30, width: int = 41) -> np.ndarray:
    values = np.array([0, 1, 2, IGNORE], dtype=np.uint8)
    return values[np.random.default_rng(seed).integers(0, 4, (height, width))]


def some_census() -> tuple[MaskCensus, list[np.ndarray]]:
    masks = [some_mask(seed) for seed in range(3)] + [np.full((5, 7), 3, dtype=np.uint8)]
    return census_of([count_mask(mask, 4) for mask in masks], NAMES, ["w", "x", "y", "z"]), masks


def test_counts_equal_a_loop_over_classes():
    census, masks = some_census()
    assert census.pixels.dtype == np.int32
    assert census.pixels.toarray().tolist() == [[int((mask == c).sum()) for c in range(4)] for mask in masks]
    assert census.mask_px.tolist() == [mask.size for mask in masks]


def test_frequency_coverage_and_cooccurrence_equal_loops():
    census, masks = some_census()
    totals = np.array([sum(int((mask == c).sum()) for mask in masks) for c in range(4)])
    assert census.class_px.tolist() == totals.tolist()
    np.testing.assert_allclose(census.class_frequency, totals / totals.sum())
    assert census.images_per_class.tolist() == [3, 3, 3, 1]
    assert census.coverage(36).tolist() == [3, 3, 3, 0]
    pairs = [[sum(a in mask and b in mask for mask in masks) for b in range(4)] for a in range(4)]
    assert census.cooccurrence.tolist() == pairs


def test_rows_keep_order_and_content():
    census, masks = some_census()
    some = census.rows([3, 0])
    assert some.ids == ("z", "w")
    assert len(some) == 2
    assert some.mask_px.tolist() == [35, masks[0].size]
    assert some.layouts is not None
    assert (some.layouts[0] == 3).all()


def test_layout_holds_the_centres_of_the_cells():
    mask = some_mask(7, height=120, width=160)
    rows, columns = LAYOUT_SIZE
    expected = [mask[10 * y + 5, 10 * x + 5] for y in range(rows) for x in range(columns)]
    assert count_mask(mask, 4).layout.tolist() == expected


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_counts_and_ignored_pixels_make_up_the_mask(height: int, width: int, seed: int):
    mask = some_mask(seed, height, width)
    count = count_mask(mask, 4)
    assert int(count.class_px.sum()) + int((mask == IGNORE).sum()) == count.mask_px == height * width


def saved(folder: Path, raw: np.ndarray, mode: str) -> Path:
    path = folder / f"{mode.replace(';', '')}.png"
    if mode == "P":
        picture = Image.fromarray(raw)
        picture.putpalette(list(range(256)) * 3)
        picture.save(path)
    else:
        Image.fromarray(raw.astype(np.uint16) if mode == "I;16" else raw).save(path)
    return path


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_a_file_counts_like_its_decoded_mask(tmp_path: Path, mode: str):
    space = LabelSpace("shifted", NAMES, raw_ids={10: 0, 11: 1, 12: 2, 13: 3, 14: 3}, ignored=(0,))
    values = np.array([0, 10, 11, 12, 14, 255], dtype=np.uint8)
    raw = values[np.random.default_rng(3).integers(0, 6, (33, 47))]
    dataset = FileDataset("some", space, (Entry("one", tmp_path / "none.jpg", saved(tmp_path, raw, mode)),))
    by_file, by_mask = count_item(dataset, "one"), count_mask(dataset.mask("one"), 4)
    assert by_file.class_px.tolist() == by_mask.class_px.tolist()
    assert by_file.mask_px == by_mask.mask_px
    assert by_file.layout.tolist() == by_mask.layout.tolist()


def test_a_label_outside_the_space_is_named_with_its_file(tmp_path: Path):
    raw = np.full((4, 4), 5, dtype=np.uint8)
    dataset = FileDataset("some", LabelSpace("four", NAMES), (Entry("one", tmp_path, saved(tmp_path, raw, "L")),))
    with pytest.raises(DataError) as error:
        count_item(dataset, "one")
    assert str(error.value) == f"{tmp_path / 'L.png'}: label 5 is outside four's 0..3; is it the right mask?"
