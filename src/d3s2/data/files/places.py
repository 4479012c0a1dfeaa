"""Where the files of a data set lie: on this disk, as pathlib has it, or in a store that fsspec knows by a URL.

A store is listed once, when its data set is opened: whether a file is there, its size and whether it changed are then
known without a call for each. Files of this disk are looked up as ever.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os.path import isdir, isfile, islink, realpath
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from d3s2.base.errors import D3S2Error, DataError
from d3s2.base.formats.files import MAX_BYTES, MAX_TEXT_BYTES, decoded_text, read_bytes, sha256_text
from d3s2.base.formats.urls import open_store

URL_SIGN = "://"
CHECK = "check the address and your rights there"


@dataclass(frozen=True)
class Store:
    """Everything below a URL.

    Args:
        url: without a slash at its end, for example s3://bucket/data.

    Raises:
        UsageError: fsspec knows no such URL, or the package that it needs is missing.
        DataError: it cannot be listed.
    """

    url: str

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        return open_store(self.url, f"The data set's root {self.url}")

    @cached_property
    def files(self) -> Mapping[str, tuple[int, str]]:
        """Bytes, and a text that changes with the file, of each file by its path below the URL."""
        files, root = self._opened
        try:
            found = files.find(root, detail=True)
        except Exception as problem:  # each store raises other ones
            raise DataError(f"{self.url}: cannot be listed ({_said(problem)}); {CHECK}.") from None
        return {
            path[len(root) :].lstrip("/"): (int(about.get("size") or 0), sha256_text(str(sorted(about.items())))[:16])
            for path, about in found.items()
        }

    @cached_property
    def folders(self) -> frozenset[str]:
        """Of those that hold files, and of those above them, the paths below the URL."""
        return frozenset(str(parent) for file in self.files for parent in PurePosixPath(file).parents)

    def read(self, below: str) -> bytes:
        """The content of a file."""
        files, root = self._opened
        content: bytes = files.cat_file(f"{root}/{below}")
        return content


@dataclass(frozen=True)
class StorePath:
    """A file or folder of a store, with what data sets need of pathlib.

    Args:
        below: its path below the store's URL.
    """

    store: Store
    below: PurePosixPath

    def __str__(self) -> str:
        return f"{self.store.url}/{self.below}" if self.below.parts else self.store.url

    def __truediv__(self, name: str | PurePath) -> "FilePath":
        # As in pathlib, an absolute path takes the place of what stands before it.
        return Path(name) if PurePath(name).is_absolute() else StorePath(self.store, self.below / name)

    @property
    def name(self) -> str:
        return self.below.name

    @property
    def stem(self) -> str:
        return self.below.stem

    @property
    def suffix(self) -> str:
        return self.below.suffix


FilePath = Path | StorePath


def place_of(root: Path | str) -> FilePath:
    """A folder by its path, or by a URL."""
    if isinstance(root, Path) or URL_SIGN not in root:
        return Path(root)
    return StorePath(Store(root if root.endswith(URL_SIGN) else root.rstrip("/")), PurePosixPath())


def is_folder(path: FilePath) -> bool:
    """Whether there is a folder."""
    return isdir(path) if isinstance(path, Path) else str(path.below) in path.store.folders


def is_file(path: FilePath) -> bool:
    """Whether there is a file."""
    return isfile(path) if isinstance(path, Path) else str(path.below) in path.store.files


def files_below(folder: FilePath) -> Iterator[tuple[PurePath, FilePath]]:
    """Every file of a folder and of those in it, with its path below it, in an order that depends on no disk."""
    if isinstance(folder, Path):
        for parent, folders, names in os.walk(folder, followlinks=True):
            folders[:] = sorted(name for name in folders if not _leads_up(parent, name))
            below = Path(parent).relative_to(folder)
            yield from ((below / name, Path(parent) / name) for name in sorted(names))
        return
    for file in sorted(folder.store.files):
        path = PurePosixPath(file)
        if path.is_relative_to(folder.below):
            yield path.relative_to(folder.below), StorePath(folder.store, path)


def stamp_of(path: FilePath) -> str:
    """A text that changes whenever the content of a file may have changed there; raises OSError where there is none.

    Length and time of writing can be kept while the content changes. The time at which the file's record changed cannot
    be set, and the record's number tells a file from another one that was moved into its place.
    """
    if isinstance(path, Path):
        found = path.stat()
        return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ctime_ns}-{found.st_ino}"
    if not is_file(path):
        raise FileNotFoundError(2, os.strerror(2), str(path))
    size, stamp = path.store.files[str(path.below)]
    return f"{size}-{stamp}"


def content_of(path: FilePath, what: str, max_bytes: int = MAX_BYTES, error: type[D3S2Error] = DataError) -> bytes:
    """The content of a file of at most `max_bytes`; arguments and errors as for `read_bytes`."""
    if isinstance(path, Path):
        return read_bytes(path, what, max_bytes, error)
    if not is_file(path):
        raise error(f"{path}: there is no such file, expected {what}; check the path.")
    size, _ = path.store.files[str(path.below)]
    if size > max_bytes:
        raise error(f"{path}: has {size:,} bytes, expected {what} of at most {max_bytes:,}; check that it is one.")
    try:
        return path.store.read(str(path.below))
    except Exception as problem:  # each store raises other ones
        raise error(f"{path}: cannot be read as {what} ({_said(problem)}); {CHECK}.") from None


def text_of(path: FilePath, what: str, error: type[D3S2Error]) -> str:
    """The text of a UTF-8 file; see `content_of`."""
    return decoded_text(content_of(path, what, MAX_TEXT_BYTES, error), str(path), what, error)


def _leads_up(parent: str, name: str) -> bool:
    """Whether a folder is a link to one that it lies in, so that walking it would never end."""
    if not islink(os.path.join(parent, name)):
        return False
    return Path(realpath(parent)).is_relative_to(realpath(os.path.join(parent, name)))


def _said(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300] or type(problem).__name__
