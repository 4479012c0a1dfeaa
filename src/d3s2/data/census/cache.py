"""The counts of a census on disk: what was counted once is found again, as long as the mask is the same.

A census that grows lies in parts; one that is whole lies in one file. A row holds the counts of one mask as it was when
it was counted (`stamp`), and a file the digest of what its counts mean, so that counts by other classes are left alone.

Files are read some rows at a time, and what is kept for each mask meanwhile are numbers in arrays: a Python object for
each takes ten times as much, and there may be millions.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse
from jaxtyping import Int64

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import sha256_text, writing
from d3s2.base.formats.parquet import BATCH_ROWS, metadata_of, read_batches, write_table
from d3s2.data.census.counts import LAYOUT_CELLS, MaskCensus, MaskCount
from d3s2.data.dataset import SegmentationDataset
from d3s2.data.label_space import LabelSpace

CENSUS_FILE = "census.parquet"
PART_PATTERN = "part-*.parquet"
SPACE_KEY = b"d3s2.space"
KEY_BYTES = 16
"""Of a digest of id and stamp: two of ten million masks share one in one of 10^24 censuses."""

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

VARIABLE = ["classes", "class_px", "digest"]
"""Columns whose values differ in length."""


@dataclass(frozen=True)
class Stamped:
    """Masks as they are now.

    Args:
        ids: of the masks, in data set order.
        stamps: of each, `pair_stamp`.
    """

    ids: Sequence[str]
    stamps: pa.LargeStringArray

    def without(self, some: Collection[str]) -> "Stamped":
        """The same masks but for some ids."""
        if not some:
            return self
        kept = np.array([item_id not in some for item_id in self.ids])
        return Stamped([self.ids[row] for row in np.flatnonzero(kept).tolist()], self.stamps.filter(pa.array(kept)))

    def keys(self) -> np.ndarray:
        """(n,) a key for each."""
        return _keys(self.ids, texts_of(self.stamps))


def _keys(ids: Iterable[str], stamps: Iterable[str]) -> np.ndarray:
    pairs = zip(ids, stamps, strict=True)
    digests = (sha256(f"{item_id}\x1f{stamp}".encode()).digest()[:KEY_BYTES] for item_id, stamp in pairs)
    return np.fromiter(digests, f"S{KEY_BYTES}")


@dataclass(frozen=True)
class CensusCache:
    """The counts on disk: one file once the census is whole, and parts while it grows."""

    folder: Path
    tag: bytes
    num_classes: int

    @property
    def whole(self) -> Path:
        """The file of a census that is whole."""
        return self.folder / CENSUS_FILE

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The counts of this space, some rows at a time, file by file."""
        for path in self.paths():
            if metadata_of(path, COUNTS, COUNT_AGAIN).get(SPACE_KEY) == self.tag:
                for table in read_batches(path, SCHEMA, COUNTS, COUNT_AGAIN, row_bytes=1, columns=list(columns)):
                    problem = _count_problem(table, self.num_classes)
                    if problem is not None:
                        raise StoreError(f"{path}: {problem}; {COUNT_AGAIN}.")
                    yield table

    def rows_of(self, masks: Stamped) -> Int64[np.ndarray, " n"]:
        """For each mask the row that holds its counts, among the rows of `batches`; -1 where it is not counted."""
        keys = masks.keys()
        rows = np.full(len(keys), -1)
        if not len(keys):
            return rows
        order, first = np.argsort(keys), 0
        ordered = keys[order]
        for table in self.batches(["id", "stamp"]):
            found = _keys(table["id"].to_pylist(), table["stamp"].to_pylist())
            places = np.searchsorted(ordered, found)
            places[places == len(keys)] = 0  # past the last key
            same = np.flatnonzero(ordered[places] == found)
            rows[order[places[same]]] = first + same
            first += len(table)
        return rows

    def is_whole(self, rows: Int64[np.ndarray, " n"]) -> bool:
        """Whether the one file holds these rows, in their order, and no others."""
        in_order = self.paths() == [self.whole] and bool((rows == np.arange(len(rows))).all())
        return in_order and pq.read_metadata(self.whole).num_rows == len(rows)

    def paths(self) -> list[Path]:
        """Every file with counts."""
        return [*([self.whole] if self.whole.exists() else []), *sorted(self.folder.glob(PART_PATTERN))]

    def write(self, path: Path, table: pa.Table) -> None:
        """Writes a table of counts, complete or not at all."""
        with writing(path) as temporary:
            write_table(table.replace_schema_metadata({SPACE_KEY: self.tag}), temporary)

    def write_part(self, rows: Sequence[tuple[str, str, MaskCount]]) -> None:
        """Keeps the counts of some masks: id, stamp, count."""
        number = max((int(path.stem.split("-")[1]) + 1 for path in self.folder.glob(PART_PATTERN)), default=0)
        self.write_rows(self.folder / f"part-{number:06d}.parquet", rows)

    def write_rows(self, path: Path, rows: Sequence[tuple[str, str, MaskCount]]) -> None:
        """The same in a file of this name."""
        self.write(path, _table(rows))


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


def assemble(dataset: SegmentationDataset, cache: CensusCache, masks: Stamped) -> MaskCensus:
    """The whole census of masks that are counted, from the files of the cache, which become one."""
    rows = cache.rows_of(masks)
    assert (rows >= 0).all()
    num_masks, first, rest = len(masks.ids), 0, []
    mask_px, layouts = np.empty(num_masks, dtype=np.int32), np.empty((num_masks, LAYOUT_CELLS), dtype=np.uint8)
    order = np.argsort(rows)
    for table in cache.batches(["mask_px", *VARIABLE, "layout"]):
        here = slice(*np.searchsorted(rows, [first, first + len(table)], sorter=order))
        places, found = order[here], rows[order[here]] - first
        mask_px[places] = table["mask_px"].to_numpy()[found]
        layouts[places] = _cells(table["layout"].combine_chunks())[found]
        rest.append(table.select(VARIABLE))
        first += len(table)
    unordered = pa.concat_tables(rest)
    listed = {name: unordered[name].take(pa.array(rows)).combine_chunks() for name in VARIABLE}
    del rest, unordered, table
    pa.default_memory_pool().release_unused()
    if not cache.is_whole(rows):
        parts = list(cache.folder.glob(PART_PATTERN))
        cells = pa.FixedSizeBinaryArray.from_buffers(pa.binary(LAYOUT_CELLS), num_masks, [None, pa.py_buffer(layouts)])
        known = {"id": large_texts(masks.ids), "stamp": masks.stamps, "mask_px": mask_px, "layout": cells}
        cache.write(cache.whole, pa.table({name: (known | listed)[name] for name in SCHEMA.names}, schema=SCHEMA))
        for part in parts:
            part.unlink(missing_ok=True)
    return MaskCensus(
        class_names=dataset.space.names,
        ids=tuple(masks.ids),
        pixels=_pixels(listed["classes"], listed["class_px"], dataset.space),
        mask_px=mask_px,
        layouts=layouts,
        digest=_digest(dataset, masks.ids, listed["digest"]),
    )


def _cells(column: pa.FixedSizeBinaryArray) -> np.ndarray:
    """(n, 192) the bytes of each value."""
    every = np.frombuffer(column.buffers()[1], dtype=np.uint8)[column.offset * LAYOUT_CELLS :]
    return every[: len(column) * LAYOUT_CELLS].reshape(len(column), LAYOUT_CELLS)


def _pixels(classes: pa.LargeListArray, class_px: pa.LargeListArray, space: LabelSpace) -> scipy.sparse.csr_array:
    starts = np.concatenate([[0], np.cumsum(pc.list_value_length(classes).to_numpy(zero_copy_only=False))])
    indices = classes.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    data = class_px.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
    return scipy.sparse.csr_array((data, indices, starts), shape=(len(classes), space.num_classes))


def _digest(dataset: SegmentationDataset, ids: Sequence[str], digests: pa.LargeStringArray) -> str:
    """Of all pairs by what they hold, and of how their values map to classes."""
    held = sha256()
    for position, (item_id, digest) in enumerate(zip(ids, texts_of(digests), strict=True)):
        held.update(f"{chr(10) if position else ''}{item_id} {digest}".encode())
    return sha256_text(f"{dataset.name} {dataset.space!r} {held.hexdigest()}")


def large_texts(texts: Iterable[str | None]) -> pa.LargeStringArray:
    """Texts in one array, made some at a time."""
    left, batches = iter(texts), []
    while batch := list(islice(left, BATCH_ROWS)):
        batches.append(pa.array(batch, pa.large_string()))
    return pa.chunked_array(batches, pa.large_string()).combine_chunks()


def texts_of(column: pa.LargeStringArray) -> Iterator[str]:
    """The texts of a column, made some at a time."""
    for start in range(0, len(column), BATCH_ROWS):
        yield from column.slice(start, BATCH_ROWS).to_pylist()


def space_tag(dataset: SegmentationDataset) -> bytes:
    """A digest of what a count means: it changes with the columns, the classes and how values map to them."""
    return sha256_text(f"{SCHEMA.names} {dataset.name} {dataset.space!r}").encode()
