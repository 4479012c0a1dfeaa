"""Copies of a set that appear elsewhere, file by file, while it is made: a folder, or any store that fsspec knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from d3s2.base.errors import StoreError
from d3s2.base.formats.urls import open_store
from d3s2.store.item_table import read_items
from d3s2.store.items import CARD, ITEMS, MANIFEST, Item, own_file


@dataclass(frozen=True)
class Destination:
    """Where a set is copied to.

    Args:
        url: a folder, or a URL such as s3://bucket/name or memory://name.

    Raises:
        UsageError: fsspec knows no such URL, or the package that it needs is missing.
    """

    url: str

    def __post_init__(self) -> None:
        self._opened()

    def below(self, name: str) -> "Destination":
        """A folder of it."""
        return Destination(f"{self.url.rstrip('/')}/{name}")

    def put_item(self, folder: Path, item: Item) -> None:
        """Copies the files of an item, the label last."""
        for file, _ in sorted(item.files, key=lambda pair: pair[0] == item.label_file):
            self._put(folder, file)

    def put_set(self, folder: Path) -> None:
        """Copies what is missing of a finished set, its manifest last: there, the copy is complete."""
        for file in (file for item in read_items(folder / ITEMS) for file, _ in item.files):
            if self._size(file) != (folder / file).stat().st_size:
                self._put(folder, file)
        for file in (ITEMS, CARD, MANIFEST):
            self._put(folder, file)

    def _put(self, folder: Path, file: str) -> None:
        content = own_file(folder, file).read_bytes()
        with self._named():
            store, root = self._opened()
            with store.transaction:  # on a disk a file appears complete or not at all, as objects of a store do
                store.pipe_file(f"{root}/{file}", content)

    def _size(self, file: str) -> int | None:
        with self._named():
            store, root = self._opened()
            path = f"{root}/{file}"
            return store.size(path) if store.exists(path) else None

    def _opened(self) -> tuple[Any, str]:
        options = {} if "://" in self.url and not self.url.startswith("file:") else {"auto_mkdir": True}
        return open_store(self.url, f"--publish {self.url}:", **options)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError) as problem:
            raise StoreError(
                f"{self.url}: cannot be written ({' '.join(str(problem).split())[:300]}); check the address and your "
                "rights there, and run the same call again: it copies what is missing."
            ) from None
