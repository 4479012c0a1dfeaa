"""Selections by features against brute force, plain k-means, and apricot-select's greedy."""

import numpy as np
import pytest
import scipy.sparse

from d3s2.data.census.counts import MaskCensus
from d3s2.selection.clusters import clusters_of, first_centres
from d3s2.selection.select import select_masks

NUM, SIZE = 70, 6


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Masks around eight places."""
    rng = np.random.default_rng(5)
    places = rng.normal(0, 4, (8, SIZE))
    return (places[rng.integers(0, 8, NUM)] + rng.normal(0, 1, (NUM, SIZE))).astype(np.float32)


def chosen(features: np.ndarray, method: str, num_masks: int) -> list[int]:
    census = MaskCensus(
        class_names=("a", "b"),
        ids=[f"m{row:03d}" for row in range(NUM)],
        pixels=scipy.sparse.csr_array(np.full((NUM, 2), 5, dtype=np.int32)),
        mask_px=np.full(NUM, 10, dtype=np.int32),
    )
    return [int(item_id[1:]) for item_id in select_masks(census, num_masks, method=method, features=features).ids]


def test_k_center_takes_the_farthest_one_by_one(features: np.ndarray) -> None:
    found = chosen(features, "k-center", 12)
    exact = features.astype(np.float64)
    assert found[0] == int(np.linalg.norm(exact - exact.mean(axis=0), axis=1).argmin())
    for count in range(1, 12):
        gaps = [min(float(np.linalg.norm(one - exact[row])) for row in found[:count]) for one in exact]
        assert gaps[found[count]] == pytest.approx(max(gaps), abs=1e-4)


def test_herding_takes_whatever_brings_the_means_closest(features: np.ndarray) -> None:
    found, exact = chosen(features, "herding", 12), features.astype(np.float64)
    for count in range(12):
        others = [row for row in range(NUM) if row not in found[:count]]
        gaps = {row: np.linalg.norm(exact[[*found[:count], row]].mean(axis=0) - exact.mean(axis=0)) for row in others}
        assert gaps[found[count]] == pytest.approx(min(gaps.values()), abs=1e-4)


def test_medoids_are_the_nearest_to_the_centres_of_their_clusters(features: np.ndarray) -> None:
    # In tie order, as the method sees them: the first of a random choice is the first in that order.
    order = chosen(features, "random", NUM)
    rows = features[order].astype(np.float64)
    _, members = clusters_of(rows, 8)
    expected = set()
    for cluster in range(8):
        own = np.flatnonzero(members == cluster)
        centre = rows[own].mean(axis=0)
        expected.add(order[own[np.linalg.norm(rows[own] - centre, axis=1).argmin()]])
    found = chosen(features, "medoids", 8)
    assert set(found) == expected
    sizes = {order[row]: int((members == members[row]).sum()) for row in range(NUM)}
    assert [sizes[row] for row in found] == sorted((sizes[row] for row in found), reverse=True)


def test_clusters_are_those_of_plain_k_means(features: np.ndarray) -> None:
    rows = features.astype(np.float64)
    centres = rows[first_centres(rows, 8)]
    for _ in range(200):
        members = ((rows[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([rows[members == cluster].mean(axis=0) for cluster in range(8)])
    found, found_members = clusters_of(rows, 8)
    np.testing.assert_allclose(found, centres, atol=1e-9)
    assert (found_members == members).all()


def test_masks_that_do_not_differ_make_fewer_clusters() -> None:
    rows = np.repeat(np.eye(3), 5, axis=0)
    centres, members = clusters_of(rows, 10)
    assert len(centres) == 3
    assert (np.bincount(members) == 5).all()


@pytest.mark.filterwarnings("ignore")  # of what apricot-select imports
def test_facility_location_equals_apricots_greedy(features: np.ndarray) -> None:
    apricot = pytest.importorskip("apricot", reason="the extra `benchmarks` brings apricot-select")
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similar = ((1 + unit @ unit.T) / 2).astype(np.float64)
    theirs = apricot.FacilityLocationSelection(12, metric="precomputed", optimizer="naive").fit(similar)
    assert chosen(features, "facility-location", 12) == [int(row) for row in theirs.ranking]
