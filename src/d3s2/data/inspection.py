"""Whether a data set on disk is what it should be: counts, missing partners, the first bad file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from d3s2.base.errors import DataError
from d3s2.base.progress import SILENT, Progress
from d3s2.data.catalogue import find_pairs, open_dataset, splits_of
from d3s2.data.dataset import SegmentationDataset, read_pair

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Args:
        split: its name.
        num_found: whole pairs on disk.
        num_expected: the official count; None where there is none.
        problems: a sentence for each missing folder or partner, the first twenty.
        num_problems: how many there are in all.
        num_read: pairs that were opened and decoded.
        first_bad: a sentence on the first of those that cannot be used; None when all can.
    """

    split: str
    num_found: int
    num_expected: int | None
    problems: tuple[str, ...]
    num_problems: int
    num_read: int
    first_bad: str | None

    @property
    def is_whole(self) -> bool:
        """Whether everything is there and nothing that was read is bad."""
        counted = self.num_expected in (None, self.num_found)
        return counted and not self.problems and self.first_bad is None


@dataclass(frozen=True)
class DatasetReport:
    """What was found of a data set."""

    name: str
    root: Path | str | None
    splits: tuple[SplitReport, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every split is."""
        return all(split.is_whole for split in self.splits)


def inspect_dataset(
    name: str,
    root: Path | str | None,
    *,
    options: Mapping[str, Any] | None = None,
    splits: tuple[str, ...] | None = None,
    max_read: int | None = 200,
    progress: Progress = SILENT,
) -> DatasetReport:
    """Examines a data set on disk; what is wrong with it is reported, not raised.

    Args:
        name: a key of DATASETS, or the path of a YAML data set file.
        root: its folder.
        options: as for `open_dataset`.
        splits: which; default: all that are known.
        max_read: how many pairs of each split are decoded, evenly spread; None for all.
        progress: where the work is told.

    Raises:
        UsageError: the name, an option or a missing root.

    Examples:
        >>> from d3s2.data import inspect_dataset
        >>> found = inspect_dataset("scenes", None, options={"count": 20}, splits=("val",))
        >>> found.is_whole
        True
    """
    expected = splits_of(name, root)
    wanted = splits if splits is not None else tuple(expected) or ("train",)
    reports = [_inspect_split(name, split, root, options, expected.get(split), max_read, progress) for split in wanted]
    return DatasetReport(name, root, tuple(reports))


def _inspect_split(
    name: str,
    split: str,
    root: Path | str | None,
    options: Mapping[str, Any] | None,
    num_expected: int | None,
    max_read: int | None,
    progress: Progress,
) -> SplitReport:
    try:
        pairing = find_pairs(name, split, root, options)
        problems = pairing.problems if pairing else ()
        if pairing and not pairing.entries:
            return SplitReport(split, 0, num_expected, problems[:MAX_PROBLEMS], len(problems), 0, None)
        dataset = pairing.whole_pairs() if pairing else open_dataset(name, split, root, options)
    except DataError as error:
        return SplitReport(split, 0, num_expected, (str(error),), 1, 0, None)
    num_read, first_bad = _read_some(dataset, max_read, progress)
    return SplitReport(
        split, len(dataset.ids), num_expected, problems[:MAX_PROBLEMS], len(problems), num_read, first_bad
    )


def _read_some(dataset: SegmentationDataset, max_read: int | None, progress: Progress) -> tuple[int, str | None]:
    num_read = len(dataset.ids) if max_read is None else min(max_read, len(dataset.ids))
    positions = np.linspace(0, len(dataset.ids) - 1, num_read).astype(int)
    with progress.task(f"read {dataset.name}", num_read) as task:
        for done, position in enumerate(positions):
            try:
                read_pair(dataset, dataset.ids[position])
            except DataError as error:
                return done + 1, str(error)
            task.advance()
    return num_read, None
