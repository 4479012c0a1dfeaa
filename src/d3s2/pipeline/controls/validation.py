"""The validation split: what is chosen is chosen there, so that the test split is read for the table alone."""

from dataclasses import replace

from d3s2.base.errors import UsageError
from d3s2.data.catalogue import open_split
from d3s2.data.dataset import SegmentationDataset
from d3s2.data.settings import DataSettings
from d3s2.evaluation.grid import TestSplit
from d3s2.pipeline.run import Run


def require_own_split(data: DataSettings) -> None:
    """Raises UsageError where choices would be made on the training or the test split."""
    if data.val in (data.train, data.test):
        role = "data.train" if data.val == data.train else "data.test"
        raise UsageError(
            f"data.val and {role} are both '{data.val}', and what is chosen has to be chosen on pairs of its own; name "
            "a split in data.val that holds others."
        )


def on_validation(run: Run) -> Run:
    """The run with the validation split in the place of the test split.

    Raises:
        UsageError: that split shares pairs with the training split.
    """
    data = run.config.data
    shared = _stamps(run.train_data) & _stamps(open_split(data, data.val))
    if shared:
        raise UsageError(
            f"data.val '{data.val}' and data.train '{data.train}' share {len(shared)} pairs (for example "
            f"'{min(shared)[0]}'), so that students would be scored on pairs that they learnt from; name splits of "
            "different pairs (the known data sets and their splits: `d3s2 doctor`)."
        )
    held = data.model_copy(update={"test": data.val})
    return replace(run, config=run.config.model_copy(update={"data": held}))


def scored_split(run: Run) -> TestSplit:
    """What students of a run are scored on, at the size at which they are."""
    census = run.scored_census
    return TestSplit(census.digest, tuple(census.class_px.tolist()))


def _stamps(data: SegmentationDataset) -> set[tuple[str, str]]:
    """Pairs by what tells them apart on this disk; no file is read."""
    return {(item_id, data.pair_stamp(item_id)) for item_id in data.ids}
