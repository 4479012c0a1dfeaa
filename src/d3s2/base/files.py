"""Files that appear whole or not at all, digests, and one process a folder."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from d3s2.base.errors import StoreError

LOCK_NAME = ".d3s2.lock"


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it takes the name of `path` in one step.

    The content is on the disk before the name changes, so a power cut leaves the old file, or the
    whole new one. Raises StoreError where the folder cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(handle)
    except OSError as error:
        raise StoreError(_why(path, error)) from None
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(_why(path, error)) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with writing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON with a stable key order."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file that d3s2 wrote; raises StoreError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); delete it to have it made again.") from None


def sha256_file(path: Path) -> str:
    """The SHA-256 digest of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The SHA-256 digest of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process; raises StoreError when another process holds it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(_why(folder, error)) from None
    lock = FileLock(folder / LOCK_NAME, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise StoreError(
            f"{folder}: another d3s2 process is at work in this folder; wait for it, or give another --out."
        ) from None
    except OSError as error:
        raise StoreError(_why(folder, error)) from None
    try:
        yield
    finally:
        lock.release()


def _why(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"{path}: the disk is full; free some space and run the same call again, "
            "it goes on from what is already there."
        )
    return f"{path}: cannot be written ({error.strerror or error}); check the folder and its permissions."
