"""Parquet from a file: a table of the columns that are expected, of a size that is known before anything is read.

A few kilobytes can stand for gigabytes of equal values. Rows and values are counted in the footer first, and texts are
read as a dictionary of their distinct values, so that a repeated one takes no more memory than its number.

Arrow opens the file by its path and reads in this thread, nothing ahead: threads of its own that hold Python objects
while the interpreter ends abort it.

The columns of a table of records follow from the record's type, so that they are written down once.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import regular_size
from d3s2.base.formats.json_text import shortened

MAX_FILE_BYTES = 4 << 30
MAX_UNPACKED_BYTES = 8 << 30
MAX_TEXT_CHARACTERS = 1024
FREE_ROWS = 20_000
"""Rows that a file of any size may hold; beyond them each row must take its share of the file."""
BATCH_ROWS = 1024
BUFFER_BYTES = 1 << 16  # of each column: without it the packed bytes of a whole column are read at once


def read_table(
    path: Path, schema: pa.Schema, what: str, advice: str, *, row_bytes: int, columns: list[str] | None = None
) -> pa.Table:
    """The table in a Parquet file, each column in one piece.

    Columns are read one after the other: while one is read, its distinct texts take several times their bytes.

    Args:
        schema: names and types of the columns, in their order; its metadata is not compared.
        what: what the file is, for the sentence.
        advice: what the sentence ends with: what to do about a damaged file.
        row_bytes: what a row takes in a packed file at the least; a file of fewer bytes cannot hold its rows.
        columns: those that are read. Default: all.

    Raises:
        StoreError: the file is missing or damaged, its columns are others, or it stands for more than it can hold.
    """
    with _opened(path, schema, what, advice, row_bytes) as stored:
        tables = []
        for name in columns or schema.names:
            table = _checked(stored.read(columns=[name], use_threads=False), schema, path, advice)
            tables.append(in_one_piece([table]))
            del table
            pa.default_memory_pool().release_unused()
        read = pa.schema([table.schema.field(0) for table in tables], tables[0].schema.metadata)
        return pa.Table.from_arrays([table.column(0) for table in tables], schema=read)


def read_batches(
    path: Path, schema: pa.Schema, what: str, advice: str, *, row_bytes: int, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """The same table, `BATCH_ROWS` rows at a time: what is in memory does not grow with the file."""
    with _opened(path, schema, what, advice, row_bytes) as stored:
        num_rows = 0
        for batch in stored.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            num_rows += len(batch)
            yield _checked(pa.Table.from_batches([batch]), schema, path, advice)
        claimed = stored.metadata.num_rows
    pa.default_memory_pool().release_unused()
    if num_rows != claimed:  # a column that ends early ends the batches without a word
        raise StoreError(f"{path}: claims {claimed:,} rows and holds {num_rows:,}; {advice}.")


def write_table(table: pa.Table, to: Any) -> None:
    """Writes a table to a path or a stream; what that took goes back to the system, where Arrow would keep it."""
    pq.write_table(table, to, compression="zstd")
    pa.default_memory_pool().release_unused()


def in_one_piece(tables: Iterable[pa.Table]) -> pa.Table:
    """The rows of several tables in one, with each column in one piece.

    Where nobody else holds the tables, one column at a time is in memory twice, not all.
    """
    table = pa.concat_tables(tables)
    for place, column in enumerate(table.schema):
        if table.column(place).num_chunks > 1:
            table = table.set_column(place, column, table.column(place).combine_chunks())
            pa.default_memory_pool().release_unused()
    return table


@contextmanager
def _opened(path: Path, schema: pa.Schema, what: str, advice: str, row_bytes: int) -> Iterator[pq.ParquetFile]:
    """The file, once its footer says nothing that cannot be."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file, expected {what}; {advice}.")
    size = regular_size(path, what, MAX_FILE_BYTES)
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    try:
        problem = _schema_problem(pq.read_schema(str(path)), schema)
        if problem is None:
            options = {"read_dictionary": texts, "pre_buffer": False, "buffer_size": BUFFER_BYTES}
            with pq.ParquetFile(str(path), **options) as stored:
                problem = _size_problem(stored.metadata, size, row_bytes)
                if problem is None:
                    yield stored
    except StoreError:
        raise
    # Arrow's own errors, and what it lets through of the text and numbers in a damaged footer.
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read as Parquet ({shortened(error)}); {advice}.") from None
    if problem is not None:
        raise StoreError(f"{path}: {problem}; {advice}.")


def _checked(table: pa.Table, schema: pa.Schema, path: Path, advice: str) -> pa.Table:
    """What was read, valid, with its texts as texts, which a person's eye and `to_pylist` expect."""
    table.validate(full=True)
    problem = _text_problem(table)
    if problem is not None:
        raise StoreError(f"{path}: {problem}; {advice}.")
    plain = pa.schema([schema.field(name) for name in table.column_names])
    return table.cast(plain.with_metadata(table.schema.metadata))


def metadata_of(path: Path, what: str, advice: str) -> dict[bytes, bytes]:
    """What the footer of a Parquet file says beside its columns; raises StoreError where it cannot be read."""
    return dict(_schema_of(path, what, advice).metadata or {})


def names_of(path: Path, what: str, advice: str) -> list[str]:
    """The columns of a Parquet file; raises StoreError where it cannot be read."""
    return list(_schema_of(path, what, advice).names)


def _schema_of(path: Path, what: str, advice: str) -> pa.Schema:
    regular_size(path, what, MAX_FILE_BYTES)
    try:
        return pq.read_schema(str(path))
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, pa.ArrowException) as error:
        raise StoreError(f"{path}: cannot be read as Parquet ({shortened(error)}); {advice}.") from None


def _schema_problem(found: pa.Schema, schema: pa.Schema) -> str | None:
    if not found.equals(schema):
        names = ", ".join(schema.names)
        return f"has columns {shortened(', '.join(found.names), 400)}, expected {names} with their types"
    return None


def _size_problem(footer: Any, size: int, row_bytes: int) -> str | None:
    if footer.num_rows > FREE_ROWS + size // row_bytes:
        return f"claims {footer.num_rows:,} rows in {size:,} bytes, which cannot be"
    chunks = [
        footer.row_group(group).column(column)
        for group in range(footer.num_row_groups)
        for column in range(footer.num_columns)
    ]
    if sum(chunk.num_values for chunk in chunks) > footer.num_columns * 256 * max(footer.num_rows, 1):
        return "claims more values than its rows can hold"
    if sum(chunk.total_uncompressed_size for chunk in chunks) > MAX_UNPACKED_BYTES:
        return f"claims more than {MAX_UNPACKED_BYTES:,} bytes"
    return None


def _text_problem(table: pa.Table) -> str | None:
    for name in table.column_names:
        for chunk in table[name].chunks:
            if pa.types.is_dictionary(chunk.type) and len(chunk.dictionary):
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
                if longest > MAX_TEXT_CHARACTERS:
                    return f"column {name} holds a text of {longest:,} bytes, expected at most {MAX_TEXT_CHARACTERS:,}"
    return None


PLAIN = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def schema_of(kind: type) -> pa.Schema:
    """The columns of a dataclass, one a field: a mapping is a map, a tuple a list, what may be None may be null.

    `Annotated[int, pa.int32()]` says the type of a column that is another one than the field's own.
    """
    hints = get_type_hints(kind, include_extras=True)
    return pa.schema([pa.field(one.name, *_column(hints[one.name])) for one in fields(kind)])


def to_row(record: Any) -> dict[str, Any]:
    """A dataclass as a row of its table; keys of maps in order, since Arrow keeps the order that it is given."""
    return {
        name: sorted(value.items()) if isinstance(value, Mapping) else value for name, value in asdict(record).items()
    }


def from_row(schema: pa.Schema, row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass from a row of its table as `Table.to_pylist` gives it."""
    return {name: _value(value, schema.field(name).type) for name, value in row.items()}


def values_of(column: pa.Array) -> list[Any]:
    """The same field of many records, from a column of their table."""
    return [_value(value, column.type) for value in column.to_pylist()]


def _column(hint: Any) -> tuple[pa.DataType, bool]:
    """Type of a column, and whether it may hold null."""
    if get_origin(hint) in (Union, UnionType):
        (own,) = (one for one in get_args(hint) if one is not type(None))
        return _column(own)[0], True
    arguments = get_args(hint)
    if get_origin(hint) is Annotated:
        named = [one for one in arguments[1:] if isinstance(one, pa.DataType)]
        return (named[0], False) if named else _column(arguments[0])
    if get_origin(hint) is tuple:
        return pa.list_(_column(arguments[0])[0]), False
    if get_origin(hint) is dict:
        return pa.map_(_column(arguments[0])[0], _column(arguments[1])[0]), False
    return PLAIN[hint], False


def _value(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {key: _value(one, kind.item_type) for key, one in value}
    if pa.types.is_list(kind):
        return tuple(_value(one, kind.value_type) for one in value)
    return value
