"""The one call: methods, constraints, and the text of every error."""

import re

import numpy as np
import pytest
import scipy.sparse

from d3s2.base.errors import UsageError
from d3s2.data.census.counts import MaskCensus
from d3s2.selection.picks import explain
from d3s2.selection.select import masks_for_ratio, select_masks
from d3s2.selection.settings import METHODS

NAMES = ("sky", "road", "car", "lamp", "ghost")


@pytest.fixture
def census() -> MaskCensus:
    """60 masks: sky and road nearly everywhere, a lamp in four of them, a ghost in none."""
    rng = np.random.default_rng(1)
    present = rng.random((60, 5)) < [0.9, 0.8, 0.3, 0.0, 0.0]
    present[[5, 17, 30, 44], 3] = True
    pixels = scipy.sparse.csr_array((present * rng.integers(20, 900, (60, 5))).astype(np.int32))
    layouts = rng.integers(0, 4, (60, 192)).astype(np.uint8)
    ids = [f"m{row:02d}" for row in range(60)]
    return MaskCensus(NAMES, ids, pixels, np.full(60, 4000, dtype=np.int32), layouts)


def holds(census: MaskCensus, ids: tuple[str, ...], name: str) -> int:
    rows = [census.ids.index(mask) for mask in ids]
    return int((census.pixels[rows][:, [census.class_names.index(name)]] > 0).sum())


@pytest.mark.parametrize("method", [*METHODS])
def test_every_method_chooses_different_masks_and_as_many_as_asked(census, method):
    for num_masks in (1, 7, 60):
        chosen = select_masks(census, num_masks, method=method).ids
        assert len(chosen) == len(set(chosen)) == num_masks


@pytest.mark.parametrize("method", [*METHODS])
def test_every_method_is_blind_to_the_order_of_the_masks(census, method):
    shuffled = census.rows(np.random.default_rng(0).permutation(60))
    assert select_masks(shuffled, 15, method=method) == select_masks(census, 15, method=method)


@pytest.mark.parametrize("method", [*METHODS])
def test_every_method_keeps_forced_masks_and_leaves_forbidden_ones(census, method):
    chosen = select_masks(census, 30, method=method, force=["m07", "m03"], forbid=["m09", "m10"]).ids
    assert set(chosen[:2]) == {"m07", "m03"}
    assert not {"m09", "m10"} & set(chosen)


@pytest.mark.parametrize("method", [*METHODS])
def test_no_method_takes_a_mask_with_a_forbidden_class(census, method):
    assert holds(census, select_masks(census, 20, method=method, forbid_classes=["car"]).ids, "car") == 0


@pytest.mark.parametrize("method", [*METHODS])
def test_no_method_takes_near_duplicates(census, method):
    census.layouts[:30] = census.layouts[0]
    chosen = select_masks(census, 31, method=method, near_duplicates=0.95).ids
    assert sum(mask < "m30" for mask in chosen) == 1


def test_masks_of_equal_pixel_counts_are_near_duplicates_whatever_their_layout(census):
    twins = census.rows([0, 1, 2, 2])
    twins = MaskCensus(NAMES, ("a", "b", "c", "d"), twins.pixels, twins.mask_px, census.layouts[:4])
    chosen = select_masks(twins, 3, near_duplicates=1.0).ids
    assert not {"c", "d"} <= set(chosen)


def test_cells_that_neither_mask_labels_make_no_near_duplicates(census):
    census.layouts[:, 2:] = 255
    census.layouts[:, :2] = np.arange(120, dtype=np.uint8).reshape(60, 2)
    assert len(select_masks(census, 60, near_duplicates=0.9).ids) == 60


def test_forced_masks_are_taken_even_as_near_duplicates(census):
    census.layouts[:] = census.layouts[0]
    assert set(select_masks(census, 2, force=["m01", "m02"], near_duplicates=0.9).ids) == {"m01", "m02"}


def test_a_mask_taken_for_a_quota_names_its_class(census):
    picks = select_masks(census, 4, quotas={"lamp": 2}, class_weights={"lamp": 0.0}).picks
    assert [pick.reason_class == "lamp" for pick in picks] == [True, True, False, False]


@pytest.mark.parametrize("method", ["class-balanced", "rarest-first"])
def test_a_quota_is_kept_whatever_the_weights(census, method):
    settings = {"class_weights": {"lamp": 0.0, "car": 0.0}, "method": method}
    assert holds(census, select_masks(census, 4, quotas={"lamp": 3, "car": 2}, **settings).ids, "lamp") >= 3
    assert holds(census, select_masks(census, 4, force_classes=["lamp"], **settings).ids, "lamp") >= 1


def test_rarest_first_begins_with_the_class_that_fewest_masks_hold(census):
    picks = select_masks(census, 8, method="rarest-first").picks
    assert picks[0].reason_class == "lamp"


def test_class_balanced_leaves_no_class_out_that_random_leaves_out(census):
    balanced = select_masks(census, 4).ids
    assert all(holds(census, balanced, name) for name in NAMES[:4])
    assert any(not holds(census, select_masks(census, 4, method="random", seed=s).ids, "lamp") for s in range(5))


def test_stratified_takes_every_class_in_turn(census):
    reasons = [pick.reason_class for pick in select_masks(census, 8, method="stratified").picks]
    assert reasons == ["lamp", "car", "road", "sky"] * 2


def test_random_is_nested_and_differs_by_seed(census):
    small, large = (select_masks(census, k, method="random", seed=3).ids for k in (5, 20))
    assert large[:5] == small
    assert select_masks(census, 20, method="random", seed=4).ids != large


def test_random_draws_every_mask_equally_often(census):
    drawn = [mask for seed in range(400) for mask in select_masks(census, 6, method="random", seed=seed).ids]
    counts = np.array([drawn.count(mask) for mask in census.ids])
    # 2,400 draws over 60 masks: chi-squared with 59 degrees of freedom is below 98 in all but one case of a thousand.
    assert ((counts - 40) ** 2 / 40).sum() < 98


def test_features_of_the_caller_decide_k_center(census):
    features = np.zeros((60, 2), dtype=np.float32)
    features[11] = [9, 0]
    features[23] = [0, 9]
    chosen = select_masks(census, 3, method="k-center", features=features).ids
    assert set(chosen[1:]) == {"m11", "m23"}


def test_herding_follows_the_mean(census):
    features = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    chosen = [census.ids.index(mask) for mask in select_masks(census, 10, method="herding", features=features).ids]
    gap = np.linalg.norm(features[chosen].mean(axis=0) - features.mean(axis=0))
    draws = [np.random.default_rng(seed).choice(60, 10, replace=False) for seed in range(50)]
    assert gap < min(np.linalg.norm(features[rows].mean(axis=0) - features.mean(axis=0)) for rows in draws)


def test_facility_location_equals_a_plain_greedy_loop(census):
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = (1 + unit.astype(np.float64) @ unit.T) / 2
    best, expected = np.zeros(60), []
    for _ in range(8):
        gains = np.maximum(similar - best, 0).sum(axis=1)
        expected.append(f"m{int(gains.argmax()):02d}")
        best = np.maximum(best, similar[int(gains.argmax())])
    assert list(select_masks(census, 8, method="facility-location", features=features).ids) == expected


def test_a_selection_explains_itself(census):
    selection = select_masks(census, 4, force=["m07"])
    assert selection.empty_classes == ("ghost",)
    lines = explain(selection, max_rows=2).splitlines()
    assert lines[0].split() == ["pick", "mask", "taken", "for", "gain"]
    assert lines[1].split()[:3] == ["1", "m07", "forced"]
    assert lines[2].split()[1] == selection.picks[1].item_id
    assert lines[3:] == ["... and 2 more", "In no mask at all: ghost."]
    assert sum(pick.gain for pick in selection.picks) == pytest.approx(selection.value, abs=1e-6)


def test_the_settings_are_plain_and_complete(census):
    settings = select_masks(census, 3, quotas={"lamp": 1}, near_duplicates=0.9).settings
    assert settings["num_masks"] == 3
    assert settings["quotas"] == {"lamp": 1}
    assert settings["near_duplicates"] == 0.9
    assert settings["coverage"] == "mixed"


@pytest.mark.parametrize(
    ("num_masks", "arguments", "message"),
    [
        (0, {}, "num_masks is 0, expected 1 to 60"),
        (61, {}, "num_masks is 61, expected 1 to 60"),
        (5, {"method": "class-balancd"}, "Unknown selection method 'class-balancd'.*Did you mean 'class-balanced'"),
        (5, {"force": ["m01", "x9"]}, r"force: no mask of the census has the id 'x9' \(1 of 2 ids"),
        (5, {"forbid": ["x9"]}, "forbid: no mask of the census has the id 'x9'"),
        (5, {"force_classes": ["lampe"]}, "force_classes: there is no class 'lampe'.*did you mean 'lamp'"),
        (
            5,
            {"forbid_classes": ["qqqq"]},
            "forbid_classes: there is no class 'qqqq' among the 5 classes; known are sky",
        ),
        (5, {"quotas": {"lamp": 9}}, "class 'lamp' asks for 9 masks, the masks to choose from have 4; lower its quota"),
        (5, {"quotas": {"ghost": 1}}, "class 'ghost' asks for 1 masks, the masks to choose from have 0"),
        (5, {"quotas": {"lamp": -1}}, "class 'lamp' asks for -1 masks, expected 0 or more"),
        (2, {"quotas": {"lamp": 4}}, "class 'lamp' asks for 4 masks, 2 chosen masks have room for 2"),
        (5, {"quotas": {"lamp": 1}, "method": "random"}, "method 'random' knows none; use one of class-balanced"),
        (5, {"force": ["m01"], "forbid": ["m01"]}, "'m01' is forced, and forbidden by forbid or forbid_classes"),
        (1, {"force": ["m01", "m02"]}, "force names 2 masks, more than the 1 to choose"),
        (59, {"forbid": ["m01", "m02"]}, "num_masks is 59, and the constraints leave 58 of 60 masks"),
        (5, {"class_weights": {"lamp": -1.0}}, "class_weights: 'lamp' has weight -1.0, expected 0 to 1000"),
        (5, {"class_weights": {"lapm": 1.0}}, "class_weights: there is no class 'lapm'.*did you mean 'lamp'"),
        (5, {"near_duplicates": 1.5}, "near_duplicates is 1.5, expected a share above 0 and at most 1"),
        (5, {"features": np.zeros((3, 2), dtype=np.float32)}, r"shape \(3, 2\), expected \(60, d\)"),
        (5, {"features": np.full((60, 2), np.nan, dtype=np.float32)}, "mask number 0 is not finite"),
    ],
)
def test_a_wrong_call_is_named(census, num_masks, arguments, message):
    with pytest.raises(UsageError, match=message):
        select_masks(census, num_masks, **arguments)


def test_near_duplicates_that_leave_too_few_masks_are_named(census):
    census.layouts[:] = census.layouts[0]
    with pytest.raises(UsageError, match="only 1 masks are left when 59 near-duplicates are taken out"):
        select_masks(census, 5, near_duplicates=0.9)


def test_near_duplicates_need_layouts(census):
    bare = MaskCensus(census.class_names, census.ids, census.pixels, census.mask_px)
    with pytest.raises(UsageError, match="the census holds no layouts"):
        select_masks(bare, 5, near_duplicates=0.9)


def test_a_ratio_becomes_the_budget_of_the_paper():
    assert masks_for_ratio(0.01, 20_210) == 202
    assert masks_for_ratio(0.01, 118_287) == 1183
    assert masks_for_ratio(0.5, 5) == 3
    assert masks_for_ratio(1.0, 7) == 7


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(UsageError, match=re.escape(f"ratio is {ratio}, expected a share above 0")):
        masks_for_ratio(ratio, 100)


def test_a_ratio_that_keeps_nothing_is_refused():
    with pytest.raises(UsageError, match=r"ratio 0.001 of 100 masks is 0.1 masks, which rounds to none; give at least"):
        masks_for_ratio(0.001, 100)
