"""Who may work in a folder: one process alone, or several that share the work; and what only one of those does at once.

Locks are those of the operating system, which frees them when their holder ends, however it ends: none is left over.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import naming, sweep_parts, write_problem

LOCK_NAME = ".d3s2.lock"
LOCKS = ".d3s2-locks"
"""Folder of the locks of processes that share the work."""

SHARED_WAIT_S = 60.0  # for others that come to share; each takes a moment
POLL_S = 0.2


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this process alone, swept of what was left half-written.

    Raises:
        StoreError: another process holds it or has a share in it, or it cannot be written.
    """
    with _held(folder, folder / LOCK_NAME, timeout_s=0.0), ExitStack() as shares:
        for path in sorted((folder / LOCKS).glob("share-*.lock")):
            shares.enter_context(_held(folder, path, timeout_s=0.0))
        sweep_parts(folder)
        yield
        shutil.rmtree(folder / LOCKS, ignore_errors=True)


@contextmanager
def shared(folder: Path, share: str) -> Iterator[None]:
    """Holds a share of `folder`: others may have others meanwhile, nobody the whole.

    Args:
        share: which one; a file name.

    Raises:
        StoreError: another process holds the folder or this share, or it cannot be written.
    """
    with _held(folder, folder / LOCK_NAME, SHARED_WAIT_S):
        own = ExitStack()
        own.enter_context(_held(folder, folder / LOCKS / f"share-{share}.lock", timeout_s=0.0))
    with own:
        yield


def taken(folder: Path, share: str | None) -> AbstractContextManager[None]:
    """Holds a share of `folder` where one is named, else the whole: `shared` or `locked`."""
    return locked(folder) if share is None else shared(folder, share)


@contextmanager
def alone(folder: Path, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Waits until no other process is in the block of this name in this folder.

    Args:
        waiting: called once where there is another.
    """
    path = _lock_path(folder, name)
    with ExitStack() as block:
        while not _entered(block, folder, path):
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(POLL_S)
        yield


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[bool]:
    """As `alone`, but yields False at once where another process is in the block.

    The file of the lock is removed, so that millions of blocks leave none: who comes later must find out by other means
    that the block was done.
    """
    path = _lock_path(folder, name)
    with ExitStack() as block:
        entered = _entered(block, folder, path)
        try:
            yield entered
        finally:
            if entered:
                path.unlink(missing_ok=True)


def _entered(block: ExitStack, folder: Path, path: Path) -> bool:
    try:
        block.enter_context(_free(folder, path, timeout_s=0.0))
    except Timeout:
        return False
    return True


def _lock_path(folder: Path, name: str) -> Path:
    return folder / LOCKS / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.lock"


@contextmanager
def _held(folder: Path, path: Path, timeout_s: float) -> Iterator[None]:
    with ExitStack() as block:
        try:
            block.enter_context(_free(folder, path, timeout_s))
        except Timeout:
            raise StoreError(
                f"{folder}: another d3s2 process is at work in this folder; wait for it, or give another --out."
            ) from None
        yield


@contextmanager
def _free(folder: Path, path: Path, timeout_s: float) -> Iterator[None]:
    with naming(folder):
        path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=timeout_s)
    try:
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        raise StoreError(write_problem(folder, error)) from None
    try:
        yield
    finally:
        lock.release()
