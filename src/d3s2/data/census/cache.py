"""The counts of a census on disk: what was counted once is found again, as long as the mask is the same.

A census that grows lies in parts; one that is whole lies in one file. A row holds the counts of one mask as it was when
it was counted (`stamp`), and a file the digest of what its counts mean, so that counts by other classes are left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import sha256_text, writing
from d3s2.base.formats.parquet import metadata_of, read_table
from d3s2.data.census.counts import LAYOUT_CELLS, MaskCensus, MaskCount
from d3s2.data.dataset import SegmentationDataset

CENSUS_FILE = "census.parquet"
PART_PATTERN = "part-*.parquet"
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


@dataclass(frozen=True)
class CensusCache:
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
        """Writes a table of counts, complete or not at all."""
        with writing(path) as temporary:
            pq.write_table(table.replace_schema_metadata({SPACE_KEY: self.tag}), temporary, compression="zstd")

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


def _keys(ids: pa.ChunkedArray | pa.Array, stamps: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    return pc.binary_join_element_wise(ids, stamps, pa.scalar("\x1f", pa.large_string()))


def _wanted(stamps: dict[str, str]) -> pa.Array:
    text = pa.large_string()
    return _keys(pa.array(list(stamps), text), pa.array(list(stamps.values()), text))


def uncounted(cache: CensusCache, stamps: dict[str, str]) -> list[str]:
    """The ids whose mask, as it is now, is not in the cache; in data set order."""
    wanted = _wanted(stamps)
    counted = np.zeros(len(stamps), dtype=bool)
    for table in cache.tables(["id", "stamp"]):
        found = pc.is_in(wanted, value_set=_keys(table["id"], table["stamp"]).combine_chunks())
        counted |= found.to_numpy(zero_copy_only=False)
    ids = list(stamps)
    return [ids[position] for position in np.flatnonzero(~counted)]


def assemble(dataset: SegmentationDataset, cache: CensusCache, stamps: dict[str, str]) -> MaskCensus:
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


def space_tag(dataset: SegmentationDataset) -> bytes:
    """A digest of what a count means: it changes with the columns, the classes and how values map to them."""
    return sha256_text(f"{SCHEMA.names} {dataset.name} {dataset.space!r}").encode()
