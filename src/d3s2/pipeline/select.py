"""Stage select: census of the training split, then the masks that the distilled set is made from."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import read_record
from d3s2.data.census import MaskCensus
from d3s2.pipeline.run import Run
from d3s2.selection import Selection, masks_for_ratio, select_masks, with_groups

COMMON_SHARE, LARGEST_WEIGHT = 0.5, 8.0
SELECTION = "selection.json"


def select_run(run: Run) -> Selection:
    """Chooses the masks and keeps the choice, with its reasons, in selection.json."""
    selection = choose_masks(run, run.config.select.method)
    write_json(run.folder / SELECTION, asdict(selection))
    return selection


def choose_masks(
    run: Run,
    method: str,
    num_masks: int | None = None,
    features: Float32[np.ndarray, "n d"] | None = None,
) -> Selection:
    """The run's budget of masks, or another number, by any method, with the run's settings; features as there."""
    config, census = run.config.select, run.census
    weights = {**rarity_weights(census, config.rare_weight), **config.class_weights}
    if config.group_by is not None:
        num_classes, census = census.num_classes, with_groups(census, config.group_by)
        weights |= dict.fromkeys(census.class_names[num_classes:], config.group_weight)
    return select_masks(
        census,
        num_masks or num_masks_of(run, len(census.ids)),
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
    return read_record(folder / SELECTION, Selection, "delete it and run the same call again")
