"""The three greedy optimisers against each other, against brute force, and against the formula in plain floats."""

from functools import partial
from itertools import combinations
from math import e

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from d3s2.data.census.counts import MaskCensus
from d3s2.selection.constraints import Constraints
from d3s2.selection.greedy import GREEDY, greedy_fast, greedy_lazy, greedy_plain
from d3s2.selection.select import make_shortlist

KINDS = st.sampled_from(["presence", "mixed", "mass"])


@st.composite
def pixel_counts(draw, max_masks: int = 14, max_classes: int = 5, max_pixels: int = 3) -> np.ndarray:
    """Few classes and few different counts, so that many masks are equal and many gains tie."""
    num_masks = draw(st.integers(1, max_masks))
    num_classes = draw(st.integers(1, max_classes))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    return rng.integers(0, max_pixels + 1, (num_masks, num_classes)) * (rng.random((num_masks, num_classes)) < 0.6)


def census_of(pixels: np.ndarray, mask_px: int = 100, kinds_of_layout: int | None = None) -> MaskCensus:
    names = tuple(f"class-{c}" for c in range(pixels.shape[1]))
    ids = [f"mask-{i}" for i in range(len(pixels))]
    counted = scipy.sparse.csr_array(pixels.astype(np.int32))
    layouts = None
    if kinds_of_layout is not None:
        kinds = np.arange(len(pixels), dtype=np.uint8) % kinds_of_layout
        layouts = np.repeat(kinds[:, None], 192, axis=1)
    return MaskCensus(names, ids, counted, np.full(len(pixels), mask_px, dtype=np.int32), layouts)


def picks_of(optimiser, census: MaskCensus, num_masks: int, **arguments):
    shortlist = make_shortlist(census, num_masks, **arguments)
    optimiser(shortlist)
    return shortlist.picks


@settings(max_examples=150, deadline=None)
@given(pixels=pixel_counts(), kind=KINDS, seed=st.integers(0, 3), window=st.integers(1, 6), data=st.data())
def test_lazy_and_fast_greedy_equal_plain_greedy(pixels, kind, seed, window, data):
    census = census_of(pixels)
    num_masks = data.draw(st.integers(1, len(census)))
    weights = {name: data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])) for name in census.class_names}
    arguments = {"coverage": kind, "seed": seed, "class_weights": weights}
    plain = picks_of(greedy_plain, census, num_masks, **arguments)
    assert len(plain) == num_masks
    assert picks_of(greedy_lazy, census, num_masks, **arguments) == plain
    assert picks_of(greedy_fast, census, num_masks, **arguments) == plain
    assert picks_of(partial(greedy_fast, window_size=window), census, num_masks, **arguments) == plain


@pytest.mark.parametrize("kind", ["presence", "mixed"])
@pytest.mark.parametrize("num_classes", [6, 40])
def test_fast_greedy_equals_lazy_greedy_where_most_masks_stay_outside_the_window(kind, num_classes):
    rng = np.random.default_rng(num_classes)
    frequency = np.geomspace(0.5, 0.01, num_classes)
    pixels = rng.integers(1, 500, (3000, num_classes)) * (rng.random((3000, num_classes)) < frequency)
    census = census_of(pixels, mask_px=10_000)
    lazy = picks_of(greedy_lazy, census, 200, coverage=kind)
    assert picks_of(greedy_fast, census, 200, coverage=kind) == lazy
    assert picks_of(partial(greedy_fast, window_size=64), census, 200, coverage=kind) == lazy


@settings(max_examples=60, deadline=None)
@given(pixels=pixel_counts(max_masks=9, max_classes=4), data=st.data())
def test_greedy_reaches_at_least_1_minus_1_over_e_of_the_best(pixels, data):
    census = census_of(pixels)
    num_masks = data.draw(st.integers(1, min(4, len(census))))
    shortlist = make_shortlist(census, num_masks, coverage="presence")
    greedy_fast(shortlist)
    present = census.pixels.toarray() > 0
    best = max(np.log1p(present[list(rows)].sum(axis=0)).sum() for rows in combinations(range(len(census)), num_masks))
    value = shortlist.tally.objective.value(shortlist.tally.covered)
    assert (1 - 1 / e) * best - 1e-9 <= value <= best + 1e-9


@settings(max_examples=60, deadline=None)
@given(pixels=pixel_counts())
def test_each_pick_has_the_largest_gain_by_the_formula_in_floats(pixels):
    census = census_of(pixels)
    picks = picks_of(greedy_fast, census, len(census), coverage="presence")
    present = dict(zip(census.ids, (census.pixels.toarray() > 0).astype(float), strict=True))
    covered = np.zeros(census.num_classes)
    for pick in picks:
        gains = {mask: (np.log1p(covered + row) - np.log1p(covered)).sum() for mask, row in present.items()}
        assert gains[pick.item_id] == pytest.approx(max(gains.values()), abs=1e-8)
        assert pick.gain == pytest.approx(gains[pick.item_id], abs=1e-8)
        covered += present.pop(pick.item_id)


@settings(max_examples=60, deadline=None)
@given(pixels=pixel_counts(), kind=KINDS, data=st.data())
def test_the_answer_does_not_depend_on_the_order_of_the_masks(pixels, kind, data):
    census = census_of(pixels)
    num_masks = data.draw(st.integers(1, len(census)))
    shuffled = census.rows(data.draw(st.permutations(range(len(census)))))
    for optimiser in GREEDY.values():
        assert picks_of(optimiser, shuffled, num_masks, coverage=kind) == picks_of(
            optimiser, census, num_masks, coverage=kind
        )


@settings(max_examples=60, deadline=None)
@given(pixels=pixel_counts(max_masks=12), data=st.data())
def test_the_optimisers_agree_under_constraints(pixels, data):
    census = census_of(pixels, kinds_of_layout=2)
    ids = data.draw(st.permutations(census.ids))
    num_masks = data.draw(st.integers(1, len(census)))
    forced, forbidden = ids[:1], ids[len(ids) - (len(ids) - num_masks) // 2 :]
    open_rows = [row for row, mask in enumerate(census.ids) if mask not in forbidden]
    held = (census.pixels[open_rows] > 0).sum(axis=0)
    quotas = {name: data.draw(st.integers(0, int(most))) for name, most in zip(census.class_names, held, strict=True)}
    arguments = {
        "constraints": Constraints(force=forced, forbid=forbidden, quotas=quotas),
        "near_duplicates": data.draw(st.sampled_from([None, 1.0])),
    }
    plain = picks_of(greedy_plain, census, num_masks, **arguments)
    assert plain[0].item_id == forced[0]
    for optimiser in (greedy_lazy, greedy_fast, partial(greedy_fast, window_size=2)):
        assert picks_of(optimiser, census, num_masks, **arguments) == plain
