"""The census: every mask is read once, its classes are counted, and the counts are kept beside the run."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse

from d3s2.base.errors import DataError, StoreError, WorkError
from d3s2.base.files import sha256_text, write_json, writing
from d3s2.base.parquet import metadata_of, read_table
from d3s2.base.progress import SILENT, Progress, Task
from d3s2.base.records import RECORD, Count, read_record
from d3s2.base.workers import ending, spawned_pool
from d3s2.data.census import LAYOUT_CELLS, MaskCensus, MaskCount, count_item
from d3s2.data.dataset import FileDataset, ResizedDataset, SegmentationDataset

CENSUS_FILE = "census.parquet"
BAD_FILE = "bad_masks.json"
PART_PATTERN = "part-*.parquet"
MASKS_PER_TASK = 64
MASKS_PER_PART = 2048
SPACE_KEY = b"d3s2.space"

COUNTS, COUNT_AGAIN = "counts of masks", "delete it to have them counted again"

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("stamp", pa.large_string()),
        ("mask_px", pa.int32()),
        ("classes", pa.large_list(pa.uint8())),
        ("class_px", pa.large_list(pa.int32())),
        ("layout", pa.binary(LAYOUT_CELLS)),
        ("digest", pa.large_string()),
    ]
)


def take_census(
    dataset: SegmentationDataset,
    cache: Path,
    *,
    workers: int = 0,
    skip_bad: bool = False,
    max_reported: int = 20,
    progress: Progress = SILENT,
) -> MaskCensus:
    """Counts the pixels of each class in each mask, reading only masks that are not in the cache as they are now.

    Args:
        dataset: what to count.
        cache: the folder that keeps the counts; one data set a folder and one process at a time.
        workers: processes that read masks; 0 or 1 reads in this process.
        skip_bad: leave masks out that cannot be used, and name them in `bad_masks.json`. Default: they are an error.
        max_reported: how many bad masks the error names; `bad_masks.json` names all.
        progress: where the work is told.

    Raises:
        DataError: masks cannot be used (all are read first), or none can.
        StoreError: the cache cannot be read or written.
    """
    kept = _Cache(cache, _space_tag(dataset), dataset.space.num_classes)
    stamps, bad = _stamps(dataset)
    missing = _uncounted(kept, stamps)

    with progress.task(f"census of {dataset.name}", len(dataset.ids), done=len(stamps) - len(missing)) as task:
        bad |= _count(dataset, missing, stamps, kept, workers, task)
    _report(dataset, bad, cache, skip_bad, max_reported, progress)

    census = _assemble(dataset, kept, {item_id: stamp for item_id, stamp in stamps.items() if item_id not in bad})
    absent = [name for name, count in zip(census.class_names, census.images_per_class, strict=True) if count == 0]
    if absent:
        they = "class has" if len(absent) == 1 else "classes have"
        progress.say(f"{dataset.name}: {len(absent)} {they} not a single pixel: {', '.join(absent)}.")
    return census


def _space_tag(dataset: SegmentationDataset) -> bytes:
    """A digest of what a count means: it changes with the columns, the classes and how values map to them."""
    return sha256_text(f"{SCHEMA.names} {dataset.name} {dataset.space!r}").encode()


def _stamps(dataset: SegmentationDataset) -> tuple[dict[str, str], dict[str, str]]:
    """Stamp of each mask that is there, and a sentence for each that is not."""
    stamps, bad = {}, {}
    for item_id in dataset.ids:
        try:
            stamps[item_id] = dataset.pair_stamp(item_id)
        except DataError as error:
            bad[item_id] = str(error)
    return stamps, bad


@dataclass(frozen=True)
class _Cache:
    """The counts on disk: one file once the census is whole, and parts while it grows."""

    folder: Path
    tag: bytes
    num_classes: int

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The counts of this space, file by file."""
        for path in self.paths():
            if metadata_of(path, COUNTS, COUNT_AGAIN).get(SPACE_KEY) == self.tag:
                table = read_table(path, SCHEMA, COUNTS, COUNT_AGAIN, row_bytes=1, columns=list(columns))
                problem = _count_problem(table, self.num_classes)
                if problem is not None:
                    raise StoreError(f"{path}: {problem}; {COUNT_AGAIN}.")
                yield table

    def paths(self) -> list[Path]:
        """Every file with counts."""
        whole = self.folder / CENSUS_FILE
        return [*([whole] if whole.exists() else []), *sorted(self.folder.glob(PART_PATTERN))]

    def write(self, path: Path, table: pa.Table) -> None:
        """Writes a table of counts, whole or not at all."""
        with writing(path) as temporary:
            pq.write_table(table.replace_schema_metadata({SPACE_KEY: self.tag}), temporary, compression="zstd")

    def write_part(self, rows: Sequence[tuple[str, str, MaskCount]]) -> None:
        """Keeps the counts of some masks: id, stamp, count."""
        number = max((int(path.stem.removeprefix("part-")) + 1 for path in self.folder.glob(PART_PATTERN)), default=0)
        self.write(self.folder / f"part-{number:06d}.parquet", _table(rows))


def _count_problem(table: pa.Table, num_classes: int) -> str | None:
    """What cannot be in counts of masks, in a few words."""
    for name in table.column_names:
        if table[name].null_count:
            return f"column {name} has a row without a value"
    if "classes" not in table.column_names:
        return None
    classes, class_px = table["classes"].combine_chunks(), table["class_px"].combine_chunks()
    if not pc.list_value_length(classes).equals(pc.list_value_length(class_px)):
        return "a mask has other classes than counts"
    flat, px = classes.flatten(), class_px.flatten()
    if flat.null_count or px.null_count or (pc.max(flat).as_py() or 0) >= num_classes:
        return f"a class is outside 0..{num_classes - 1}"
    if (len(px) and pc.min(px).as_py() < 1) or (len(table) and pc.min(table["mask_px"]).as_py() < 0):
        return "a count is no number of pixels"
    return None


def _table(rows: Sequence[tuple[str, str, MaskCount]]) -> pa.Table:
    present = [np.flatnonzero(count.class_px) for _, _, count in rows]
    columns = {
        "id": [item_id for item_id, _, _ in rows],
        "stamp": [stamp for _, stamp, _ in rows],
        "mask_px": [count.mask_px for _, _, count in rows],
        "classes": [classes.astype(np.uint8) for classes in present],
        "class_px": [count.class_px[classes] for (_, _, count), classes in zip(rows, present, strict=True)],
        "layout": [count.layout.tobytes() for _, _, count in rows],
        "digest": [count.digest for _, _, count in rows],
    }
    return pa.table(columns, schema=SCHEMA)


def _keys(ids: pa.ChunkedArray | pa.Array, stamps: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return pc.binary_join_element_wise(ids, stamps, pa.scalar("\x1f", pa.large_string()))


def _wanted(stamps: dict[str, str]) -> pa.Array:
    text = pa.large_string()
    return _keys(pa.array(list(stamps), text), pa.array(list(stamps.values()), text))


def _uncounted(cache: _Cache, stamps: dict[str, str]) -> list[str]:
    """The ids whose mask, as it is now, is not in the cache; in data set order."""
    wanted = _wanted(stamps)
    counted = np.zeros(len(stamps), dtype=bool)
    for table in cache.tables(["id", "stamp"]):
        found = pc.is_in(wanted, value_set=_keys(table["id"], table["stamp"]).combine_chunks())
        counted |= found.to_numpy(zero_copy_only=False)
    ids = list(stamps)
    return [ids[position] for position in np.flatnonzero(~counted)]


def _count(
    dataset: SegmentationDataset,
    ids: Sequence[str],
    stamps: dict[str, str],
    cache: _Cache,
    workers: int,
    task: Task,
) -> dict[str, str]:
    """Counts the masks called `ids` into the cache; returns a sentence for each that cannot be used."""
    bad: dict[str, str] = {}
    rows: list[tuple[str, str, MaskCount]] = []
    try:
        for some, counts in _counted(dataset, ids, workers):
            for item_id, count in zip(some, counts, strict=True):
                if isinstance(count, str):
                    bad[item_id] = count
                else:
                    rows.append((item_id, stamps[item_id], count))
            if len(rows) >= MASKS_PER_PART:
                cache.write_part(rows)
                rows.clear()
            task.advance(len(some))
    finally:
        # Also when the work is interrupted: what was counted is not counted again.
        if rows:
            cache.write_part(rows)
    return bad


def _counted(
    dataset: SegmentationDataset, ids: Sequence[str], workers: int
) -> Iterator[tuple[Sequence[str], list[MaskCount | str]]]:
    """The counts of some ids at a time, in order; workers run a few tasks ahead, never all of them."""
    tasks = (ids[start : start + MASKS_PER_TASK] for start in range(0, len(ids), MASKS_PER_TASK))
    if workers <= 1 or len(ids) <= MASKS_PER_TASK:
        for some in tasks:
            yield some, count_items(dataset, some)
        return
    pending: deque[tuple[Sequence[str], Future[list[MaskCount | str]]]] = deque()
    with _processes(dataset.name, workers) as pool:
        for some in tasks:
            pending.append((some, pool.submit(ending, count_items, narrowed(dataset, some), some)))
            if len(pending) > 3 * workers:
                some_done, future = pending.popleft()
                yield some_done, future.result()
        while pending:
            some_done, future = pending.popleft()
            yield some_done, future.result()


@contextmanager
def _processes(name: str, workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = spawned_pool(workers)
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkError(
            f"{name}: a process that counted masks was ended from outside (out of memory?); run the same call again "
            "with fewer workers, it goes on from what is already counted."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def count_items(dataset: SegmentationDataset, ids: Sequence[str]) -> list[MaskCount | str]:
    """The count of each mask, or a sentence on why it cannot be used."""
    counts: list[MaskCount | str] = []
    for item_id in ids:
        try:
            counts.append(count_item(dataset, item_id))
        except DataError as error:
            counts.append(str(error))
    return counts


def narrowed(dataset: SegmentationDataset, ids: Sequence[str]) -> SegmentationDataset:
    """The data set as far as `ids` need it, so that little is sent to a process."""
    if isinstance(dataset, FileDataset):
        return replace(dataset, entries=tuple(dataset.entry(item_id) for item_id in ids))
    if isinstance(dataset, ResizedDataset):
        return replace(dataset, source=narrowed(dataset.source, ids))
    return dataset


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
        f"{summary} ({path} names all); repair or remove them, or leave them out with --skip-bad:\n  "
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


def _assemble(dataset: SegmentationDataset, cache: _Cache, stamps: dict[str, str]) -> MaskCensus:
    """The whole census from the files of the cache, which become one."""
    table = pa.concat_tables(cache.tables(SCHEMA.names))
    positions = pc.index_in(_wanted(stamps), value_set=_keys(table["id"], table["stamp"]).combine_chunks())
    table = table.take(positions).combine_chunks()
    if cache.paths() != [cache.folder / CENSUS_FILE] or pq.read_metadata(cache.paths()[0]).num_rows != len(stamps):
        parts = list(cache.folder.glob(PART_PATTERN))
        cache.write(cache.folder / CENSUS_FILE, table)
        for part in parts:
            part.unlink(missing_ok=True)
    return _census(table, dataset)


def _census(table: pa.Table, dataset: SegmentationDataset) -> MaskCensus:
    num_masks, class_names, ids = table.num_rows, dataset.space.names, tuple(table["id"].to_pylist())
    classes, class_px = table["classes"].combine_chunks(), table["class_px"].combine_chunks()
    indices = classes.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    data = class_px.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(classes).to_numpy(zero_copy_only=False))])
    cells = table["layout"].combine_chunks()
    start = cells.offset * LAYOUT_CELLS
    layouts = np.frombuffer(cells.buffers()[1], dtype=np.uint8)[start : start + num_masks * LAYOUT_CELLS]
    return MaskCensus(
        class_names=class_names,
        ids=ids,
        pixels=scipy.sparse.csr_array((data, indices, starts), shape=(num_masks, len(class_names))),
        mask_px=table["mask_px"].to_numpy().astype(np.int32),
        layouts=layouts.reshape(num_masks, LAYOUT_CELLS),
        digest=_digest(dataset, ids, table["digest"].to_pylist()),
    )


def _digest(dataset: SegmentationDataset, ids: Sequence[str], digests: Sequence[str]) -> str:
    """Of all pairs by what they hold, and of how their values map to classes."""
    held = sha256_text("\n".join(f"{item_id} {digest}" for item_id, digest in zip(ids, digests, strict=True)))
    return sha256_text(f"{dataset.name} {dataset.space!r} {held}")
