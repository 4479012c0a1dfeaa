"""One call for every selection: which masks of a data set to keep."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from d3s2.base.errors import UsageError
from d3s2.data.census import MaskCensus
from d3s2.selection.constraints import Constraints, check_quotas, weights_of
from d3s2.selection.coverage import cover, tie_order
from d3s2.selection.features import census_features
from d3s2.selection.near_duplicates import NearDuplicates
from d3s2.selection.objectives import LogCoverage
from d3s2.selection.picks import Selection
from d3s2.selection.settings import METHODS, CoverageKind
from d3s2.selection.shortlist import Shortlist

QUOTA_METHODS = ("class-balanced", "rarest-first")


def select_masks(
    census: MaskCensus,
    num_masks: int,
    *,
    method: str = "class-balanced",
    seed: int = 0,
    coverage: CoverageKind = "mixed",
    min_pixels: int = 1,
    class_weights: Mapping[str, float] | None = None,
    force: Sequence[str] = (),
    forbid: Sequence[str] = (),
    force_classes: Sequence[str] = (),
    forbid_classes: Sequence[str] = (),
    quotas: Mapping[str, int] | None = None,
    near_duplicates: float | None = None,
    features: Float32[np.ndarray, "n d"] | None = None,
) -> Selection:
    """Chooses `num_masks` masks; the answer depends on the settings and the set of masks, never on their order.

    Args:
        census: pixels of each class in each mask.
        num_masks: 1 to the number of masks.
        method: a name in METHODS.
        seed: decides between equals, and what the random methods draw.
        coverage: 'presence' counts masks, 'mass' the share of pixels against the usual share, 'mixed' half of each.
        min_pixels: a mask covers the classes of which it holds at least so many pixels.
        class_weights: class -> 0 to 1000; 1 where none is given.
        force: ids that are chosen first, in any case.
        forbid: ids that are never chosen.
        force_classes: classes that at least one chosen mask covers.
        forbid_classes: classes of which no chosen mask holds a single pixel.
        quotas: class -> chosen masks that cover it, at least.
        near_duplicates: share of equal cells of the layouts (above 0, at most 1) from which on two masks count as one
            and only the first is chosen; None compares none.
        features: a vector for each mask, in the order of the census, for the methods that go by features;
            default: square roots of the class shares.

    Raises:
        UsageError: a number, name or combination that cannot be met; the message says which.
        DataError: two masks with one id.

    Examples:
        >>> from pathlib import Path
        >>> import d3s2
        >>> from d3s2.data import open_split
        >>> from d3s2.data.census import take_census
        >>> from d3s2.selection import select_masks
        >>> train = open_split(d3s2.load_run("scenes", ["data.options={count: 60}"]).data, "train")
        >>> chosen = select_masks(take_census(train, Path("census")), 3, force_classes=["boat"])
        >>> [pick.gain > 0 for pick in chosen.picks]
        [True, True, True]
    """
    take = METHODS.load(method)
    constraints = Constraints(force, forbid, force_classes, forbid_classes, quotas)
    shortlist = make_shortlist(
        census,
        num_masks,
        seed=seed,
        coverage=coverage,
        min_pixels=min_pixels,
        class_weights=class_weights,
        constraints=constraints,
        near_duplicates=near_duplicates,
        features=features,
    )
    objective = shortlist.tally.objective
    if objective.quotas.any() and method not in QUOTA_METHODS:
        raise UsageError(
            f"quotas and force_classes: method '{method}' knows none; use one of {', '.join(QUOTA_METHODS)}."
        )
    take(shortlist)
    if not shortlist.full:
        raise UsageError(
            f"num_masks is {num_masks}, and only {len(shortlist.picks)} masks are left when {shortlist.num_refused} "
            "near-duplicates are taken out; choose fewer, or raise near_duplicates."
        )
    check_quotas(census, objective.quotas, shortlist.tally.held, f"{num_masks} chosen masks have room for")
    settings: dict[str, Any] = {
        "num_masks": num_masks,
        "seed": seed,
        "coverage": coverage,
        "min_pixels": min_pixels,
        "class_weights": dict(class_weights or {}),
        "force": tuple(force),
        "forbid": tuple(forbid),
        "force_classes": tuple(force_classes),
        "forbid_classes": tuple(forbid_classes),
        "quotas": dict(quotas or {}),
        "near_duplicates": near_duplicates,
        "features": "census" if features is None else "given",
    }
    empty = np.flatnonzero(shortlist.coverage.holders == 0)
    return Selection(
        method=method,
        settings=settings,
        picks=tuple(shortlist.picks),
        empty_classes=tuple(census.class_names[c] for c in empty),
        value=objective.value(shortlist.tally.covered),
    )


def make_shortlist(
    census: MaskCensus,
    num_masks: int,
    *,
    seed: int = 0,
    coverage: CoverageKind = "mixed",
    min_pixels: int = 1,
    class_weights: Mapping[str, float] | None = None,
    constraints: Constraints | None = None,
    near_duplicates: float | None = None,
    features: Float32[np.ndarray, "n d"] | None = None,
) -> Shortlist:
    """What a method starts from: `select_masks` arguments checked, masks in tie order, the forced ones taken."""
    constraints = constraints or Constraints()
    open_rows, forced = constraints.open_rows(census), constraints.forced_rows(census)
    _check_counts(num_masks, len(census), int(open_rows.sum()), len(forced))
    _check_features(features, len(census))
    order = tie_order(census.ids, seed)
    covered = cover(census, order, coverage, min_pixels)
    quotas = constraints.class_quotas(census)
    if quotas.any():
        available = covered.subset(np.flatnonzero(open_rows[order])).holders
        check_quotas(census, quotas, available, "the masks to choose from have")
    shortlist = Shortlist(
        census,
        order,
        covered,
        LogCoverage(weights_of(census, class_weights), quotas),
        open_rows[order],
        num_masks,
        None if near_duplicates is None else NearDuplicates(census, num_masks, near_duplicates),
        lambda: census_features(census, order) if features is None else features[order],
    )
    for row in np.flatnonzero(np.isin(order, forced)):
        shortlist.offer(int(row), explain=True, forced=True)
    return shortlist


def masks_for_ratio(ratio: float, num_masks: int) -> int:
    """round(ratio x num_masks), halves up.

    Args:
        ratio: share of the masks to keep, above 0 and at most 1.
        num_masks: of the data set.

    Raises:
        UsageError: a ratio outside its range, or one so small that no mask would be kept.

    Examples:
        >>> from d3s2.selection import masks_for_ratio
        >>> masks_for_ratio(0.01, 20210)
        202
    """
    if not 0 < ratio <= 1:
        raise UsageError(f"ratio is {ratio}, expected a share above 0 and at most 1 (0.01 keeps 1 % of the masks).")
    chosen = floor(ratio * num_masks + 0.5)
    if chosen == 0:
        raise UsageError(
            f"ratio {ratio} of {num_masks} masks is {ratio * num_masks:.3g} masks, which rounds to none; "
            f"give at least {1 / max(num_masks, 1):.3g}."
        )
    return chosen


def _check_counts(num_masks: int, num_all: int, num_open: int, num_forced: int) -> None:
    if not 1 <= num_masks <= num_all:
        raise UsageError(
            f"num_masks is {num_masks}, expected 1 to {num_all}, the number of masks; choose one of those."
        )
    if num_forced > num_masks:
        raise UsageError(f"force names {num_forced} masks, more than the {num_masks} to choose; raise num_masks.")
    if num_open < num_masks:
        raise UsageError(
            f"num_masks is {num_masks}, and the constraints leave {num_open} of {num_all} masks; choose fewer, or "
            "forbid less."
        )


def _check_features(features: NDArray[Any] | None, num_all: int) -> None:
    if features is None:
        return
    if features.ndim != 2 or len(features) != num_all:
        raise UsageError(f"features has shape {features.shape}, expected ({num_all}, d): a vector for each mask.")
    bad: Int64[np.ndarray, " b"] = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UsageError(f"features: the vector of mask number {bad[0]} is not finite, expected numbers; correct it.")
