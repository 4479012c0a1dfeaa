"""The procedural data set: the same pixels from the same seed, a heavy tail, textured classes."""

import hashlib

import numpy as np
import pytest

from d3s2.base.errors import DataError
from d3s2.data.known.scenes import CLASS, SPACE, Scenes


def test_the_same_seed_gives_the_same_pixels_in_any_order() -> None:
    first, second = Scenes("train", 5), Scenes("train", 50)
    for item_id in reversed(first.ids):
        assert np.array_equal(first.image(item_id), second.image(item_id))
        assert np.array_equal(first.mask(item_id), second.mask(item_id))


def test_splits_and_seeds_differ() -> None:
    images = [Scenes("train", 1).image("000000"), Scenes("test", 1).image("000000")]
    images.append(Scenes("train", 1, seed=1).image("000000"))
    assert len({hashlib.sha256(image.tobytes()).hexdigest() for image in images}) == 3


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (48, 128)])
def test_any_size(size: tuple[int, int]) -> None:
    scenes = Scenes("train", 2, size_px=size)
    assert scenes.image("000001").shape == (*size, 3)
    assert scenes.mask("000001").shape == size


def test_the_tail_is_heavy_and_the_rarest_class_is_in_under_one_per_cent() -> None:
    scenes = Scenes("train", 1000)
    held = np.zeros(SPACE.num_classes)
    for item_id in scenes.ids:
        held[np.unique(scenes.mask(item_id))] += 1
    shares = np.sort(held / 1000)
    assert SPACE.num_classes >= 12
    assert 0 < shares[0] < 0.01
    assert shares[-1] == 1.0
    assert (shares < 0.1).sum() >= SPACE.num_classes // 3


def test_a_class_is_not_one_colour() -> None:
    scenes = Scenes("train", 40)
    for name in ("sky", "ground", "building", "tree"):
        pixels = np.concatenate([scenes.image(i)[scenes.mask(i) == CLASS[name]] for i in scenes.ids])
        assert (pixels.std(axis=0) > 10).all(), name


def test_too_small_a_view_is_refused_with_the_smallest() -> None:
    with pytest.raises(DataError, match=r"10 x 96 px were asked for, expected at least 1 of 32 x 48"):
        Scenes("train", 1, size_px=(10, 96))
