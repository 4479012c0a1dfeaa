"""The census: every mask is read once, its classes are counted, and the counts are kept beside the run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from d3s2.base.errors import DataError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Count, read_record
from d3s2.base.progress import SILENT, Progress, Task
from d3s2.data.census.cache import CENSUS_FILE, CensusCache, assemble, space_tag, uncounted
from d3s2.data.census.counts import MaskCensus, MaskCount, count_item
from d3s2.data.dataset import SegmentationDataset

BAD_FILE = "bad_masks.json"
MASKS_PER_TASK = 64
Counted = tuple[Sequence[str], list[MaskCount | str]]
"""Ids, and for each the count, or a sentence on why the mask cannot be used."""

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
    stamps, bad = stamps_of(dataset)
    missing = uncounted(kept, stamps)

    with progress.task(f"census of {dataset.name}", len(dataset.ids), done=len(stamps) - len(missing)) as task:
        bad |= _count(dataset, missing, stamps, kept, count or count_here, task)
    _report(dataset, bad, cache, skip_bad, max_reported, progress)

    census = assemble(dataset, kept, {item_id: stamp for item_id, stamp in stamps.items() if item_id not in bad})
    absent = [name for name, count in zip(census.class_names, census.images_per_class, strict=True) if count == 0]
    if absent:
        they = "class has" if len(absent) == 1 else "classes have"
        progress.say(f"{dataset.name}: {len(absent)} {they} not a single pixel: {', '.join(absent)}.")
    return census


def is_counted(dataset: SegmentationDataset, cache: Path) -> bool:
    """Whether every mask, as it is now, is in the one file of a complete census; then nothing is written any more."""
    kept = CensusCache(cache, space_tag(dataset), dataset.space.num_classes)
    if [path.name for path in kept.paths()] != [CENSUS_FILE]:
        return False
    stamps, bad = stamps_of(dataset)
    return not bad and not uncounted(kept, stamps)


def stamps_of(dataset: SegmentationDataset) -> tuple[dict[str, str], dict[str, str]]:
    """Stamp of each mask that is there, and a sentence for each that is not."""
    stamps, bad = {}, {}
    for item_id in dataset.ids:
        try:
            stamps[item_id] = dataset.pair_stamp(item_id)
        except DataError as error:
            bad[item_id] = str(error)
    return stamps, bad


def _count(
    dataset: SegmentationDataset,
    ids: Sequence[str],
    stamps: dict[str, str],
    cache: CensusCache,
    count: Counter,
    task: Task,
) -> dict[str, str]:
    """Counts the masks called `ids` into the cache; returns a sentence for each that cannot be used."""
    bad: dict[str, str] = {}
    chunks = [ids[start : start + MASKS_PER_TASK] for start in range(0, len(ids), MASKS_PER_TASK)]
    rows: list[tuple[str, str, MaskCount]] = []
    try:
        for some, counts in count(dataset, chunks):
            for item_id, found in zip(some, counts, strict=True):
                if isinstance(found, str):
                    bad[item_id] = found
                else:
                    rows.append((item_id, stamps[item_id], found))
            if len(rows) >= MASKS_PER_PART:
                cache.write_part(rows)
                rows.clear()
            task.advance(len(some))
    finally:
        # Also when the work is interrupted: what was counted is not counted again.
        if rows:
            cache.write_part(rows)
    return bad


def count_here(dataset: SegmentationDataset, chunks: Sequence[Sequence[str]]) -> Iterator[Counted]:
    """The counts of some ids at a time, in this process."""
    return ((some, count_items(dataset, some)) for some in chunks)


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
