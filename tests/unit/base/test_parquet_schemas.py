"""The columns of a table of records follow from the record."""

from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa

from d3s2.base.formats.parquet import from_row, schema_of, to_row
from d3s2.store.item_table import SCHEMA, SCHEMA_1


@dataclass(frozen=True)
class Measured:
    name: str
    number: Annotated[int, pa.int32()]
    whole: bool
    share: float | None
    shares: dict[str, float | None]
    lists: dict[str, tuple[float | None, ...]]
    steps: tuple[int, ...] = ()


def test_a_field_is_a_column() -> None:
    assert schema_of(Measured) == pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("number", pa.int32(), nullable=False),
            pa.field("whole", pa.bool_(), nullable=False),
            pa.field("share", pa.float64()),
            pa.field("shares", pa.map_(pa.string(), pa.float64()), nullable=False),
            pa.field("lists", pa.map_(pa.string(), pa.list_(pa.float64())), nullable=False),
            pa.field("steps", pa.list_(pa.int64()), nullable=False),
        ]
    )


def test_records_survive_their_table() -> None:
    records = [
        Measured("a", 1, True, None, {"z": 0.5, "b": None}, {"y": (0.1, None), "x": ()}, (1, 2)),
        Measured("b", 2, False, 0.25, {}, {}),
    ]
    table = pa.Table.from_pylist(list(map(to_row, records)), schema=schema_of(Measured))
    assert [Measured(**from_row(table.schema, row)) for row in table.to_pylist()] == records
    assert [key for key, _ in table.column("shares").to_pylist()[0]] == ["b", "z"]


def test_the_table_of_items_has_the_columns_of_its_format() -> None:
    energies = pa.map_(pa.string(), pa.float64())
    assert SCHEMA.field("energies_before") == pa.field("energies_before", energies, nullable=False)
    assert SCHEMA.field("candidate") == pa.field("candidate", pa.int32(), nullable=False)
    assert [field.name for field in SCHEMA if field.nullable] == ["teacher_accuracy", "soft_file", "soft_sha256"]
    assert SCHEMA_1.field("candidate").type == pa.int32()
