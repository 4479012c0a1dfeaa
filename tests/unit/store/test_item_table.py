import io
import pickle
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from d3s2.base.formats.parquet import to_row
from d3s2.store.item_table import SCHEMA, Items, read_items
from d3s2.store.items import Item, sha256_bytes


def item(number: int) -> Item:
    name = f"mask-{number:06d}"
    return Item(
        item_id=name,
        source_id=f"source/{number}",
        seed=2**62 + number,
        candidate=number % 3,
        energies_before={} if number % 5 else {"segmentation": 1 / (number + 1)},
        energies_after={"segmentation": 0.5 / (number + 1), "features": 0.25},
        teacher_accuracy=None if number % 7 else 0.5,
        ignored_px=number,
        image_file=f"images/{name}.png",
        image_sha256=sha256_bytes(b"image %d" % number),
        label_file=f"labels/{name}.png",
        label_sha256=sha256_bytes(b"label %d" % number),
    )


MANY = [item(number) for number in range(5_000)]


def written(folder: Path, items: list[Item]) -> Path:
    path = folder / "items.parquet"
    path.write_bytes(Items.of(items).as_bytes())
    return path


def test_a_table_has_the_bytes_of_one_made_at_once() -> None:
    at_once = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(map(to_row, MANY)), schema=SCHEMA), at_once, compression="zstd")
    assert Items.of(MANY).as_bytes() == at_once.getvalue()
    assert Items.of(reversed(MANY)).as_bytes() == at_once.getvalue()


def test_items_are_a_sequence_of_those_that_were_written(tmp_path: Path) -> None:
    items = read_items(written(tmp_path, MANY))
    assert list(items) == MANY
    assert items.ids == tuple(one.item_id for one in MANY)
    assert items[4_321] == MANY[4_321]
    assert items[-1] == MANY[-1]
    assert list(items[1_000:3_000:7]) == MANY[1_000:3_000:7]
    assert list(pickle.loads(pickle.dumps(items[:3]))) == MANY[:3]
    with pytest.raises(IndexError):
        items[len(MANY)]
    assert list(Items.of([])) == []


def test_rows_in_any_order_are_read_sorted(tmp_path: Path) -> None:
    path = written(tmp_path, MANY)
    pq.write_table(pq.read_table(path).take(pa.array(range(len(MANY) - 1, -1, -1))), path, compression="zstd")
    assert list(read_items(path)) == MANY


def test_no_object_an_item_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path, MANY)
    arrow, _ = pa.total_allocated_bytes(), tracemalloc.start()
    items = read_items(path)
    of_python, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert of_python < 100 * len(MANY)  # its id; an Item takes thousands of bytes
    assert pa.total_allocated_bytes() - arrow < 400 * len(items)
