"""Files that appear complete or not at all, and digests."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from d3s2.base.errors import D3S2Error, StoreError
from d3s2.base.formats.json_text import MAKE_AGAIN, parse_json

MAX_BYTES = 1 << 30
"""The largest file that is read whole, unless its reader says otherwise."""
MAX_TEXT_BYTES = 64 << 20
"""The largest text that is read whole, unless its reader says otherwise."""
PART = re.compile(r"\..+\.[0-9a-f]{8}\.d3s2\.part")
"""The name of a file, or of a folder of files, that is being written."""

FULL = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "your share of the disk (quota) is full; free some space",
    errno.EFBIG: "files may not grow so large here; raise the limit (ulimit -f)",
}


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields a temporary path near `path`; on success it takes the name of `path` in one step.

    The content is on the disk before the name changes, so a power cut leaves the old file, or the whole new one. Its
    permissions are those that the umask leaves. Raises StoreError where the folder cannot be written or the disk is
    full, whatever error the block makes of that.
    """
    with _scratch(path, path) as scratch:
        temporary = scratch / path.name
        temporary.touch()
        yield temporary


@contextmanager
def writing_files(folder: Path, last: str) -> Iterator[Path]:
    """Yields an empty temporary folder inside `folder`; on success its files move there one by one, as in `writing`.

    For libraries that write several files under names of their own.

    Args:
        last: name of the file that comes last: its being there means that the others are.
    """
    with _scratch(folder / last, folder) as scratch:
        yield scratch


@contextmanager
def _scratch(last: Path, named: Path) -> Iterator[Path]:
    """A folder of its own even for a single file: safetensors writes a file of another name beside the one it makes."""
    scratch = _part_of(last)
    with naming(named):
        scratch.mkdir(parents=True)
        mode = scratch.stat().st_mode & 0o666  # what the umask leaves of a file's; safetensors does not ask it
    try:
        with naming(named):
            yield scratch
            paths = [Path(place, name) for place, _, names in os.walk(scratch) for name in names]
            for path in sorted(paths, key=lambda path: (path == scratch / last.name, path)):
                with path.open("rb+") as stream:
                    os.fsync(stream.fileno())
                    os.fchmod(stream.fileno(), mode)
                target = last.parent / path.relative_to(scratch)
                if target.parent != last.parent:
                    target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    finally:
        try:
            scratch.rmdir()
        except OSError:  # not empty
            shutil.rmtree(scratch, ignore_errors=True)


def sweep_parts(folder: Path) -> None:
    """Removes what killed processes left half-written in `folder` and below it; nothing that `writing` did not name.

    Folders that links lead to are not entered. Only for who holds the folder (`locked`): others may be writing in it.
    """
    for place, folders, names in os.walk(folder):
        for name in filter(PART.fullmatch, names):
            Path(place, name).unlink(missing_ok=True)
        for name in filter(PART.fullmatch, list(folders)):
            folders.remove(name)
            if not Path(place, name).is_symlink():
                shutil.rmtree(Path(place, name), ignore_errors=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path`, complete or not at all; as `writing`, but without a folder for each file."""
    temporary = _part_of(path)
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Writes `content` to `path` as UTF-8, complete or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON with a stable key order."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def read_json(path: Path, advice: str = MAKE_AGAIN, error: type[D3S2Error] = StoreError) -> Any:
    """The content of a JSON file; raises `error` where it is damaged, with `advice` on what to do."""
    return parse_json(read_text(path, "JSON", error=error), str(path), advice, error)


def read_bytes(path: Path, what: str, max_bytes: int = MAX_BYTES, error: type[D3S2Error] = StoreError) -> bytes:
    """The content of a regular file of at most `max_bytes`.

    A pipe, a device or a folder in place of the file is refused before anything is read of it: one would wait for
    ever, another never end.

    Args:
        path: the file; a link is followed.
        what: what the file is to the caller, for the sentence, such as "a class list".
        max_bytes: the largest size that is read.
        error: the class that is raised.
    """
    try:
        # Opening a pipe that nobody writes to waits for ever without O_NONBLOCK; regular files do not mind it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as problem:
        raise error(_unreadable(path, what, problem)) from None
    try:
        _refuse_others(path, os.fstat(handle), what, max_bytes, error)
        with open(handle, "rb", buffering=0, closefd=False) as stream:
            content = stream.readall()  # a buffer of the file's length; read(max_bytes) would set up one of a GiB
    except OSError as problem:
        if isinstance(problem, D3S2Error):
            raise
        raise error(_unreadable(path, what, problem)) from None
    finally:
        os.close(handle)
    if len(content) > max_bytes:  # it grew meanwhile
        raise error(_too_large(path, len(content), what, max_bytes))
    return content


def regular_size(path: Path, what: str, max_bytes: int, error: type[D3S2Error] = StoreError) -> int:
    """Bytes of a regular file that a library is about to open by itself; refuses what `read_bytes` refuses."""
    try:
        found = path.stat()
    except (OSError, ValueError) as problem:
        raise error(_unreadable(path, what, problem)) from None
    _refuse_others(path, found, what, max_bytes, error)
    return found.st_size


def read_text(path: Path, what: str, max_bytes: int = MAX_TEXT_BYTES, error: type[D3S2Error] = StoreError) -> str:
    """The text of a regular UTF-8 file of at most `max_bytes`, without its byte order mark; see `read_bytes`."""
    return decoded_text(read_bytes(path, what, max_bytes, error), str(path), what, error)


def decoded_text(content: bytes, where: str, what: str, error: type[D3S2Error]) -> str:
    """The text in the bytes of a UTF-8 file, without its byte order mark; raises `error` beginning with `where`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(
            f"{where}: line {line} is not UTF-8 (byte {content[problem.start]:#04x} at {problem.start}), "
            f"expected {what} in UTF-8; save it in that encoding."
        ) from None


def sha256_file(path: Path) -> str:
    """The SHA-256 digest of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The SHA-256 digest of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _part_of(path: Path) -> Path:
    start = path.name.encode()[:200].decode(errors="ignore")  # a file system has room for 255 bytes
    return path.with_name(f".{start}.{secrets.token_hex(4)}.d3s2.part")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns an error of the disk into a StoreError about `path`, whichever library met it."""
    try:
        yield
    except D3S2Error:
        raise
    except OSError as error:
        raise StoreError(write_problem(path, error)) from None
    except Exception as foreign:
        behind = _disk_error(foreign)
        if behind is None:
            raise
        raise StoreError(write_problem(path, behind)) from None


def _disk_error(foreign: BaseException) -> OSError | None:
    """The full disk behind another library's error: torch's hides one in its context, safetensors' tells its number."""
    number = re.search(r"\(os error (\d+)\)$", str(foreign))
    if number:
        return OSError(int(number[1]), os.strerror(int(number[1])))
    context: BaseException | None = foreign
    while context is not None:
        if isinstance(context, OSError) and context.errno in FULL:
            return context
        context = context.__context__
    return None


def write_problem(path: Path, error: OSError) -> str:
    """A sentence on why `path` cannot be written."""
    if error.errno in FULL:
        return f"{path}: {FULL[error.errno]} and run the same call again, it resumes from what is already there."
    return f"{path}: cannot be written ({error.strerror or error}); check the folder and its permissions."


def _refuse_others(path: Path, found: os.stat_result, what: str, max_bytes: int, error: type[D3S2Error]) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path}: is {_kind(found.st_mode)}, expected a regular file with {what}.")
    if found.st_size > max_bytes:
        raise error(_too_large(path, found.st_size, what, max_bytes))


def _too_large(path: Path, size: int, what: str, max_bytes: int) -> str:
    return f"{path}: has {size:,} bytes, expected {what} of at most {max_bytes:,}; check that it is one."


def _unreadable(path: Path, what: str, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return f"{path}: there is no such file, expected {what}; check the path."
    reason = getattr(problem, "strerror", None) or problem
    return f"{path}: cannot be read as {what} ({reason}); check the path and its permissions."


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")
