"""The census: every mask is read once, its classes are counted, and the counts are kept beside the run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Count, read_record
from d3s2.base.progress import SILENT, Progress, Task
from d3s2.data.census.cache import CensusCache, Stamped, assemble, large_texts, space_tag
from d3s2.data.census.counts import MaskCensus, MaskCount, count_item
from d3s2.data.dataset import SegmentationDataset

BAD_FILE = "bad_masks.json"
MASKS_PER_TASK = 64
Counted = tuple[int, list[MaskCount | str]]
"""The number of some ids among those that are counted, and for each id the count, or why the mask cannot be used."""

Counter = Callable[[SegmentationDataset, Sequence[Sequence[str]]], Iterator[Counted]]
MASKS_PER_PART = 2048


def take_census(
    dataset: SegmentationDataset,
    cache: Path,
    *,
    count: Counter | None = None,
    skip_bad: bool = False,
    max_reported: int = 20,
    progress: Progress = SILENT,
) -> MaskCensus:
    """Counts the pixels of each class in each mask, reading only masks that are not in the cache as they are now.

    Args:
        dataset: what to count.
        cache: the folder that keeps the counts; one data set a folder and one process at a time.
        count: counts some masks at a time, in any order; None counts them in this process.
        skip_bad: leave masks out that cannot be used, and name them in `bad_masks.json`. Default: they are an error.
        max_reported: how many bad masks the error names; `bad_masks.json` names all.
        progress: where the work is told.

    Raises:
        DataError: masks cannot be used (all are read first), or none can.
        StoreError: the cache cannot be read or written.
    """
    kept = CensusCache(cache, space_tag(dataset), dataset.space.num_classes)
    masks, bad = stamps_of(dataset, dataset.ids)
    missing = np.flatnonzero(kept.rows_of(masks) < 0)

    total = len(masks.ids) + len(bad)
    with progress.task(f"census of {dataset.name}", total, done=len(masks.ids) - len(missing)) as task:
        uncountable = _count(dataset, masks, missing, kept, count or count_here, task)
    _report(dataset, bad | uncountable, cache, skip_bad, max_reported, progress)

    census = assemble(dataset, kept, masks.without(uncountable))
    absent = [name for name, count in zip(census.class_names, census.images_per_class, strict=True) if count == 0]
    if absent:
        they = "class has" if len(absent) == 1 else "classes have"
        progress.say(f"{dataset.name}: {len(absent)} {they} not a single pixel: {', '.join(absent)}.")
    return census


def is_counted(dataset: SegmentationDataset, cache: Path) -> bool:
    """Whether every mask, as it is now, is in the one file of a complete census; then nothing is written any more."""
    kept = CensusCache(cache, space_tag(dataset), dataset.space.num_classes)
    if kept.paths() != [kept.whole]:
        return False
    masks, bad = stamps_of(dataset, dataset.ids)
    return not bad and kept.is_whole(kept.rows_of(masks))


def stamps_of(dataset: SegmentationDataset, ids: Sequence[str]) -> tuple[Stamped, dict[str, str]]:
    """The stamp of each mask that is there, and a sentence for each that is not."""
    bad: dict[str, str] = {}

    def stamp(item_id: str) -> str | None:
        try:
            return dataset.pair_stamp(item_id)
        except DataError as error:
            bad[item_id] = str(error)
            return None

    stamps = large_texts(map(stamp, ids)).drop_null()
    there = [item_id for item_id in ids if item_id not in bad] if bad else ids
    return Stamped(there, stamps), bad


def _count(
    dataset: SegmentationDataset,
    masks: Stamped,
    missing: Int64[np.ndarray, " m"],
    cache: CensusCache,
    count: Counter,
    task: Task,
) -> dict[str, str]:
    """Counts the masks at the positions `missing` into the cache; returns a sentence for each that cannot be used."""
    bad: dict[str, str] = {}
    places = [missing[start : start + MASKS_PER_TASK] for start in range(0, len(missing), MASKS_PER_TASK)]
    chunks = [[masks.ids[position] for position in some] for some in places]
    rows: list[tuple[str, str, MaskCount]] = []
    try:
        for number, counts in count(dataset, chunks):
            stamps = masks.stamps.take(pa.array(places[number])).to_pylist()
            for item_id, stamp, found in zip(chunks[number], stamps, counts, strict=True):
                if isinstance(found, str):
                    bad[item_id] = found
                else:
                    rows.append((item_id, stamp, found))
            if len(rows) >= MASKS_PER_PART:
                cache.write_part(rows)
                rows.clear()
            task.advance(len(counts))
    finally:
        # Also when the work is interrupted: what was counted is not counted again.
        if rows:
            cache.write_part(rows)
    return bad


def count_here(dataset: SegmentationDataset, chunks: Sequence[Sequence[str]]) -> Iterator[Counted]:
    """The counts of some ids at a time, in this process."""
    return ((number, count_items(dataset, some)) for number, some in enumerate(chunks))


def count_items(dataset: SegmentationDataset, ids: Sequence[str]) -> list[MaskCount | str]:
    """The count of each mask, or a sentence on why it cannot be used."""
    counts: list[MaskCount | str] = []
    for item_id in ids:
        try:
            counts.append(count_item(dataset, item_id))
        except DataError as error:
            counts.append(str(error))
    return counts


def _report(
    dataset: SegmentationDataset,
    bad: dict[str, str],
    cache: Path,
    skip_bad: bool,
    max_reported: int,
    progress: Progress,
) -> None:
    """Names the masks that cannot be used, in a file and in an error or a line."""
    path = cache / BAD_FILE
    if not bad:
        path.unlink(missing_ok=True)
        return
    ordered = {item_id: bad[item_id] for item_id in dataset.ids if item_id in bad}
    write_json(path, {"dataset": dataset.name, "num_masks": len(dataset.ids), "skipped": skip_bad, "masks": ordered})
    summary = f"{dataset.name}: {len(bad)} of {len(dataset.ids)} masks cannot be used"
    if skip_bad and len(bad) < len(dataset.ids):
        progress.say(f"{summary} and are left out; {path} names them.")
        return
    lines = list(ordered.values())[:max_reported]
    more = f"\n  and {len(bad) - len(lines)} more" if len(bad) > len(lines) else ""
    raise DataError(
        f"{summary} ({path} names all); repair or remove them, or leave them out with select.skip_bad=true:\n  "
        + "\n  ".join(lines)
        + more
    )


@dataclass(frozen=True)
class BadMasks:
    """What bad_masks.json holds: a sentence for each mask that cannot be used, by id."""

    __pydantic_config__ = RECORD

    dataset: str
    num_masks: Count
    skipped: bool
    masks: dict[str, str]


def read_bad(cache: Path) -> dict[str, str]:
    """Why each mask that the census in `cache` left out could not be used, by id."""
    path = cache / BAD_FILE
    return dict(read_record(path, BadMasks).masks) if path.exists() else {}
