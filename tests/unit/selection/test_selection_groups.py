"""Groups of masks are covered as classes are."""

from collections import Counter

import numpy as np
import pytest
import scipy.sparse

from d3s2.base.errors import UsageError
from d3s2.data.census.counts import MaskCensus
from d3s2.selection.groups import with_groups, with_image_groups
from d3s2.selection.select import select_masks
from d3s2.selection.settings import METHODS

DRIVES = ("noon",) * 30 + ("rain",) * 8 + ("dusk",) * 2


def census() -> MaskCensus:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 60, (len(DRIVES), 4)).astype(np.int32)
    table[30:] //= 4  # masks of the small drives hold less of every class
    return MaskCensus(
        class_names=("road", "car", "sign", "pole"),
        ids=tuple(f"{drive}_{number:03d}" for number, drive in enumerate(DRIVES)),
        pixels=scipy.sparse.csr_array(table),
        mask_px=np.full(len(DRIVES), 240, dtype=np.int32),
    )


def drives_of(ids: tuple[str, ...]) -> Counter[str]:
    return Counter(item_id.partition("_")[0] for item_id in ids)


def test_a_group_is_a_class_that_its_masks_hold_in_full() -> None:
    grouped = with_groups(census(), "^[^_]+")
    assert grouped.class_names[4:] == ("group dusk", "group noon", "group rain")
    assert grouped.images_per_class[4:].tolist() == [2, 30, 8]
    held = grouped.pixels.toarray()
    np.testing.assert_array_equal(held[:, 4:].sum(axis=1), grouped.mask_px)
    np.testing.assert_array_equal(held[:, :4], census().pixels.toarray())


def test_the_first_bracket_names_the_group() -> None:
    grouped = with_groups(census(), r"_(\d)\d\d$|never")
    assert grouped.class_names[4:] == ("group 0",)


def test_small_groups_are_in_where_classes_alone_leave_them_out() -> None:
    alone = select_masks(census(), 6, coverage="mass")
    assert drives_of(alone.ids) == {"noon": 6}
    grouped = with_groups(census(), "^[^_]+")
    chosen = select_masks(grouped, 6, coverage="mass", class_weights=dict.fromkeys(grouped.class_names[4:], 3.0))
    assert set(drives_of(chosen.ids)) == {"noon", "rain", "dusk"}
    assert any(pick.reason_class == "group dusk" for pick in chosen.picks)


def test_quotas_and_weights_know_groups_by_name() -> None:
    grouped = with_groups(census(), "^[^_]+")
    assert drives_of(select_masks(grouped, 6, quotas={"group rain": 4}).ids)["rain"] >= 4
    heavy = select_masks(grouped, 6, coverage="mass", class_weights={"group dusk": 100.0})
    assert drives_of(heavy.ids)["dusk"] == 2


def test_images_that_look_alike_are_a_group_and_every_look_is_chosen() -> None:
    rng = np.random.default_rng(0)
    looks = np.array([0] * 30 + [1] * 8 + [2] * 2)  # as DRIVES
    features = (10 * np.eye(3)[looks] + rng.normal(scale=0.1, size=(40, 3))).astype(np.float32)
    grouped = with_image_groups(census(), features, 3)
    held = grouped.pixels.toarray()[:, 4:] > 0
    assert sorted(held.sum(axis=0).tolist()) == [2, 8, 30]
    assert all(len(set(looks[column])) == 1 for column in held.T)
    chosen = select_masks(grouped, 6, coverage="mass", class_weights=dict.fromkeys(grouped.class_names[4:], 3.0))
    assert set(drives_of(chosen.ids)) == {"noon", "rain", "dusk"}
    assert {pick.reason_class for pick in chosen.picks} & {f"group look {number}" for number in range(3)}


def test_images_that_are_all_alike_are_one_group() -> None:
    alike = np.ones((40, 3), dtype=np.float32)
    assert with_image_groups(census(), alike, 5).class_names[4:] == ("group look 0",)


@pytest.mark.parametrize("method", [*METHODS])
def test_every_method_takes_a_census_with_groups(method: str) -> None:
    assert len(select_masks(with_groups(census(), "^[^_]+"), 5, method=method).ids) == 5


@pytest.mark.parametrize(
    ("group_by", "text"),
    [
        ("^([^_]+", "group_by '^([^_]+' is no regular expression: missing ), unterminated subpattern"),
        ("^noon|rain", "group_by '^noon|rain' is not found in the id 'dusk_038'; it has to match every id"),
    ],
)
def test_a_wrong_pattern_is_a_sentence(group_by: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        with_groups(census(), group_by)
    assert text in str(caught.value)


def test_too_many_groups_are_refused() -> None:
    rows = np.arange(300)
    many = MaskCensus(
        class_names=("road",),
        ids=tuple(f"{row:03d}" for row in rows),
        pixels=scipy.sparse.csr_array(np.ones((300, 1), dtype=np.int32)),
        mask_px=np.ones(300, dtype=np.int32),
    )
    with pytest.raises(UsageError) as caught:
        with_groups(many, ".*")
    assert "makes 300 groups" in str(caught.value)
    assert "beside 1 classes at most 254 fit; group more coarsely" in str(caught.value)
