"""Items: the table of a distilled set's items, items.parquet, in memory and on disk."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

from d3s2.base.errors import StoreError
from d3s2.base.formats.parquet import (
    BATCH_ROWS,
    in_one_piece,
    names_of,
    read_table,
    schema_of,
    to_row,
    values_of,
    write_table,
)
from d3s2.store.items import SAFE_ID, Item, expected_files, own_file

SCHEMA = schema_of(Item)

ENERGIES_1 = {
    "l_seg_before": ("energies_before", "segmentation"),
    "l_seg_after": ("energies_after", "segmentation"),
    "l_feat_before": ("energies_before", "features"),
    "l_feat_after": ("energies_after", "features"),
}
SCHEMA_1 = pa.schema(
    [
        *(SCHEMA.field(name) for name in ("item_id", "source_id", "seed", "candidate")),
        *(pa.field(name, pa.float64()) for name in ENERGIES_1),
        *(
            column
            for column in SCHEMA
            if SCHEMA.get_field_index(column.name) > SCHEMA.get_field_index("energies_after")
        ),
    ]
)
"""Of format version 1."""

ROW_BYTES = 64
"""What an item takes in the packed table at the least: its digests alone are as many bytes of noise."""

WHAT, ADVICE = "the table of items", "restore it from a copy"


@dataclass(frozen=True, eq=False)
class Items(Sequence[Item]):
    """Items in columns, of which each is made when it is asked for.

    A row takes 300 bytes, an `Item` some kilobytes: what reads or writes a whole set holds no list of them.

    Args:
        table: columns as in SCHEMA, each in one piece.
    """

    table: pa.Table

    @classmethod
    def of(cls, items: Iterable[Item]) -> "Items":
        """Some items sorted by id; what they come from may forget each."""
        rows = map(to_row, items)
        batches = iter(lambda: list(islice(rows, BATCH_ROWS)), [])
        tables = (pa.Table.from_pylist(some, schema=SCHEMA) for some in batches)
        return cls.of_table(in_one_piece(chain([SCHEMA.empty_table()], tables)))

    @classmethod
    def of_table(cls, table: pa.Table) -> "Items":
        """The items of a table, sorted by id."""
        ids = table["item_id"]
        in_order = pc.all(pc.less_equal(ids.slice(0, max(len(ids) - 1, 0)), ids.slice(1))).as_py()
        return cls(table if in_order else in_one_piece([table.take(pc.sort_indices(ids))]))

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.table["item_id"].to_pylist())

    def as_bytes(self) -> bytes:
        """items.parquet; the same bytes from the same items."""
        buffer = io.BytesIO()
        write_table(self.table, buffer)
        return buffer.getvalue()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Item]:
        for batch in self.table.to_batches(BATCH_ROWS):
            yield from map(Item, *map(values_of, batch.columns))

    @overload
    def __getitem__(self, which: int) -> Item: ...
    @overload
    def __getitem__(self, which: slice) -> "Items": ...
    def __getitem__(self, which: int | slice) -> "Item | Items":
        rows = range(len(self))[which]
        if isinstance(rows, range):
            return Items(self.table.take(pa.array(rows, pa.int64())))
        return next(iter(Items(self.table.slice(rows, 1))))


def read_items(path: Path) -> Items:
    """The rows of an items.parquet, sorted by id; raises StoreError where it is missing, damaged or foreign."""
    if not path.exists():
        raise StoreError(f"{path}: is missing, expected the table of the set's items; restore it from a copy.")
    own = own_file(path.parent, path.name)
    if set(ENERGIES_1) <= set(names_of(own, WHAT, ADVICE)):
        rows = read_table(own, SCHEMA_1, WHAT, ADVICE, row_bytes=ROW_BYTES).to_pylist()
        items = Items.of(Item(**_from_version_1(row)) for row in rows)
    else:
        items = Items.of_table(read_table(own, SCHEMA, WHAT, ADVICE, row_bytes=ROW_BYTES))
    _check_items(path, items)
    return items


def _from_version_1(row: dict[str, Any]) -> dict[str, Any]:
    """A row of format version 1, which knew two energies, each in a column of its own."""
    energies: dict[str, dict[str, float]] = {"energies_before": {}, "energies_after": {}}
    for column, (when, name) in ENERGIES_1.items():
        value = row.pop(column)
        if value is not None:
            energies[when][name] = value
    return row | energies


def _check_items(path: Path, items: Items) -> None:
    # Paths come from a file that others may have written: none may lead out of the folder.
    for item in items:
        if not SAFE_ID.fullmatch(item.item_id):
            raise StoreError(f"{path}: item id '{item.item_id}' is no file name; was this table changed by hand?")
        if item.files != expected_files(item):
            raise StoreError(
                f"{path}: the files of item '{item.item_id}' do not bear its name; was this table changed by hand?"
            )
    twice = next((first for first, second in pairwise(items.ids) if first == second), None)
    if twice is not None:
        raise StoreError(f"{path}: item '{twice}' is there twice, expected one row an item.")
