"""Stage select: census of the training split, then the masks that the distilled set is made from."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from d3s2.base.errors import StoreError, UsageError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import read_record
from d3s2.data.census import MaskCensus
from d3s2.data.strips import place_of, strip_id
from d3s2.pipeline.fitting.features import teacher_features
from d3s2.pipeline.run import Run
from d3s2.selection import (
    FEATURE_METHODS,
    Selection,
    SelectSettings,
    compose_masks,
    masks_for_ratio,
    select_masks,
    with_groups,
    with_image_groups,
)
from d3s2.set_names import COMPOSED

COMMON_SHARE, LARGEST_WEIGHT = 0.5, 8.0
SELECTION = "selection.json"


def select_run(run: Run) -> Selection:
    """Chooses the masks, or puts them together, and keeps the choice, with its reasons, in selection.json."""
    selection = chosen_masks(run)
    write_json(run.folder / SELECTION, asdict(selection))
    return selection


def chosen_masks(run: Run) -> Selection:
    """The masks of the distilled set; their ids are read by `Run.source_data`."""
    config = run.config.select
    if config.strips == 1:
        return choose_masks(run, config.method, compared_by=config.features)
    strips, (census, weights) = run.strips_data, _weighted(run, run.strip_census)

    def choose(num_strips: int, force: tuple[str, ...], forbid: tuple[str, ...], last: bool) -> Selection:
        never = tuple(strip_id(one, position) for one in config.forbid for position in range(config.strips))
        update: dict[str, Any] = {"force": force, "forbid": tuple(dict.fromkeys((*forbid, *never)))}
        if not last:  # what only all positions together can meet
            update |= {"quotas": {}, "force_classes": ()}
        return _select(run, census, weights, num_strips, config.method, config.model_copy(update=update))

    def edges(item_id: str, position: int) -> tuple[UInt8[np.ndarray, " h"], UInt8[np.ndarray, " h"]]:
        mask = strips.mask(strip_id(item_id, position))
        return mask[:, 0], mask[:, -1]

    num_masks = num_masks_of(run, len(run.census.ids))
    asked = {"num_masks": num_masks, "seed": run.config.seed, **config.model_dump(mode="json", exclude_defaults=True)}
    return compose_masks(run.train_data.ids, num_masks, config.strips, choose, edges, asked)


def composed_ids(run: Run) -> tuple[str, ...]:
    """The real pairs that the distilled set's masks were put together of; raises UsageError where they are whole."""
    if run.config.select.strips == 1:
        raise UsageError(
            f"evaluate.sets names '{COMPOSED}', the real pixels of masks that are put together, but "
            "select.strips is 1; raise select.strips, or leave the set out."
        )
    return chosen_masks(run).ids


def choose_masks(
    run: Run,
    method: str,
    num_masks: int | None = None,
    compared_by: Literal["census", "teacher"] = "census",
    read_features: Callable[[], Float32[np.ndarray, "n d"]] | None = None,
) -> Selection:
    """Whole masks, by any method.

    Args:
        num_masks: None takes the run's budget.
        compared_by: what a method that goes by features compares pairs by; the others do without.
        read_features: the teacher's; None takes them by the run's teacher.
    """
    count = num_masks or num_masks_of(run, len(run.census.ids))
    by_teacher = compared_by == "teacher" and method in FEATURE_METHODS
    features = (read_features or partial(teacher_features, run))() if by_teacher else None
    return _select(run, *_weighted(run, run.census), count, method, run.config.select, features)


def _weighted(run: Run, census: MaskCensus) -> tuple[MaskCensus, dict[str, float]]:
    """The census with the groups that are asked for, and the weights of its classes and groups."""
    config = run.config.select
    weights = {**rarity_weights(census, config.rare_weight), **config.class_weights}
    num_classes = census.num_classes
    if config.group_by is not None:
        census = with_groups(census, config.group_by)
    if config.image_groups is not None:
        census = with_image_groups(census, _features_of_images(run, census), config.image_groups)
    return census, weights | dict.fromkeys(census.class_names[num_classes:], config.group_weight)


def _select(
    run: Run,
    census: MaskCensus,
    weights: dict[str, float],
    count: int,
    method: str,
    config: SelectSettings,
    features: Float32[np.ndarray, "n d"] | None = None,
) -> Selection:
    return select_masks(
        census,
        count,
        method=method,
        seed=run.config.seed,
        coverage=config.coverage,
        min_pixels=config.min_pixels,
        class_weights=weights,
        force=config.force,
        forbid=config.forbid,
        force_classes=config.force_classes,
        forbid_classes=config.forbid_classes,
        quotas=config.quotas,
        near_duplicates=config.near_duplicates,
        features=features,
    )


def _features_of_images(run: Run, census: MaskCensus) -> Float32[np.ndarray, "n d"]:
    """Of the whole image that each mask, or strip of a mask, belongs to."""
    features = teacher_features(run)
    if census.ids == run.census.ids:
        return features
    rows = {item_id: row for row, item_id in enumerate(run.census.ids)}
    return features[[rows[place_of(strip)[0]] for strip in census.ids]]


def rarity_weights(census: MaskCensus, exponent: float) -> dict[str, float]:
    """Class -> (0.5 / share of the masks that hold it) ** exponent, kept within 1 and 8."""
    share = np.maximum(census.images_per_class, 1) / len(census.ids)
    weights = np.clip((COMMON_SHARE / share) ** exponent, 1.0, LARGEST_WEIGHT)
    return {name: round(float(weight), 3) for name, weight in zip(census.class_names, weights, strict=True)}


def num_masks_of(run: Run, num_all: int) -> int:
    """The budget in masks."""
    config = run.config.select
    if config.ratio is not None:
        return masks_for_ratio(config.ratio, num_all)
    return config.num_masks or 0


def read_selection(folder: Path) -> Selection:
    """The choice that `select` kept."""
    path, advice = folder / SELECTION, "delete it and run the same call again"
    selection = read_record(path, Selection, advice)
    forced = selection.settings.get("force", [])
    if not (isinstance(forced, list) and all(isinstance(item_id, str) for item_id in forced)):
        raise StoreError(f"{path}: key 'settings.force' is no list of masks; {advice}.")
    return selection
