"""Commands that run one after the other, each under a time limit, and are resumed by the same call.

Each piece works in a folder of its own under `work`, of any size. What it leaves for others is copied to `out`, whose
size is bounded, with the end of its log and a record: OUT/pieces/NAME.json. A piece whose record says that it finished
with the same command is not run again; one that failed or was stopped is, and the pieces after it run all the same.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from d3s2.base.formats.files import read_json, write_json, write_text

LIMIT_S = 540.0
"""The longest that one piece runs before it is stopped."""
GRACE_S = 30.0
"""Of its limit, what a piece has to leave in after it was asked to."""
LEAST_S = 60.0
"""Fewer seconds of a call are not worth a start."""
MOST_BYTES = 50 * 2**20
LOG_SHARE, TEXT_SHARE = 0.002, 0.1
"""Of these bytes, what the end of one log has, and what is kept for logs, records and the table together."""
STARTS = 30
"""How often one call starts a piece that resumes where its limit stopped it."""

State = Literal["finished", "failed", "stopped", "waiting", "to do"]


@dataclass(frozen=True)
class Piece:
    """A command and what it leaves.

    Args:
        name: of its record, its log and its folders.
        about: one line of what it does.
        command: words; it is started in the folder of the repository.
        leaves: files of its work folder that must be there in the end; they are copied to OUT/NAME.
        also: patterns of further files of its work folder, copied where there are any and room is left.
        figures: dotted paths into the JSON that it leaves first, shown in the table; `*` stands for every key.
        after: pieces that must have finished.
        resumes: a later start of the command goes on where it was stopped.
        limit_s: seconds of one start; LIMIT_S at most.
    """

    name: str
    about: str
    command: tuple[str, ...]
    leaves: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    resumes: bool = False
    limit_s: float = LIMIT_S


@dataclass(frozen=True)
class Record:
    """How far a piece is; seconds and starts are those of all calls."""

    name: str
    command: tuple[str, ...]
    state: State = "to do"
    seconds: float = 0.0
    starts: int = 0
    says: str = ""
    left_out: tuple[str, ...] = ()
    ended: str = ""


@dataclass(frozen=True)
class Folders:
    """Where results go, and where pieces work; both are made."""

    out: Path
    work: Path
    most_bytes: int = MOST_BYTES

    def record(self, piece: Piece) -> Record:
        """What is recorded of this very command; `to do` where it is another one."""
        path = self.out / "pieces" / f"{piece.name}.json"
        found = read_json(path) if path.exists() else {}
        if tuple(found.get("command", ())) != piece.command:
            return Record(piece.name, piece.command)
        return Record(**{**found, "command": piece.command, "left_out": tuple(found["left_out"])})

    def state(self, name: str) -> str:
        """The recorded state of a piece, whatever its command."""
        path = self.out / "pieces" / f"{name}.json"
        return str(read_json(path)["state"]) if path.exists() else "to do"

    def log(self, piece: Piece) -> Path:
        """What it prints, of all its starts."""
        return self.work / piece.name / "log.txt"


def due(piece: Piece, pieces: Sequence[Piece], folders: Folders) -> bool:
    """Whether it has to run: it is not finished, or what it made is gone and a piece that is not finished needs it."""
    if folders.record(piece).state != "finished":
        return True
    gone = any(not (folders.work / piece.name / name).exists() for name in piece.leaves)
    return gone and any(piece.name in other.after and due(other, pieces, folders) for other in pieces)


def plan_of(pieces: Sequence[Piece], folders: Folders) -> str:
    """What a call will do, before it does it."""
    lines = [f"Results in {folders.out} ({folders.most_bytes / 2**20:.0f} MiB at most), work in {folders.work}."]
    for piece in pieces:
        record = folders.record(piece)
        how = "again and again until it has finished" if piece.resumes else "once"
        limit = f"at most {piece.limit_s / 60:.1f} min, {how}"
        what = f"{limit} ({record.state})" if due(piece, pieces, folders) else "has finished, not run again"
        lines += [f"  {piece.name}: {piece.about}; {what}", f"    {' '.join(piece.command)}"]
    return "\n".join(lines)


def run_pieces(
    pieces: Sequence[Piece],
    folders: Folders,
    *,
    cwd: Path,
    budget_s: float | None = None,
    tell: Callable[[str], None] = print,
) -> list[Record]:
    """Runs what is not finished, and writes the table after each piece.

    Args:
        budget_s: seconds of this call; what does not end within them is left to the next call. None: no end.
    """
    end = time.monotonic() + budget_s if budget_s is not None else float("inf")
    records = []
    for piece in pieces:
        record = folders.record(piece)
        if due(piece, pieces, folders):
            missing = [name for name in piece.after if folders.state(name) != "finished"]
            if missing:
                record = replace(record, state="waiting", says=f"for {', '.join(missing)}")
            else:
                record = _run(piece, record, folders, cwd, end, tell)
        records.append(record)
        write_json(folders.out / "pieces" / f"{piece.name}.json", asdict(record))
        write_text(folders.out / "table.md", table_of(pieces, folders))
    return records


def _run(piece: Piece, record: Record, folders: Folders, cwd: Path, end: float, tell: Callable[[str], None]) -> Record:
    """Starts a piece, and starts it again while its limit alone stops it."""
    for _ in range(STARTS if piece.resumes else 1):
        left_s = end - time.monotonic()
        limit_s = min(piece.limit_s, left_s)
        if left_s < min(piece.limit_s, LEAST_S):
            return replace(record, says=f"not started again: {left_s:.0f} s of this call were left")
        tell(f"{piece.name}: start {record.starts + 1}, at most {limit_s:.0f} s")
        record = _start(piece, record, folders, cwd, limit_s)
        write_json(folders.out / "pieces" / f"{piece.name}.json", asdict(record))
        tell(f"{piece.name}: {record.state} after {record.seconds:.0f} s. {record.says}")
        if record.state != "stopped":
            break
    return record


def _start(piece: Piece, record: Record, folders: Folders, cwd: Path, limit_s: float) -> Record:
    """Runs the command once, copies what it left, and says how it ended."""
    log = folders.log(piece)
    log.parent.mkdir(parents=True, exist_ok=True)
    for name in () if piece.resumes else piece.leaves:  # those of an earlier start are no sign of this one
        (log.parent / name).unlink(missing_ok=True)
    start = time.monotonic()
    with log.open("ab") as stream:
        status = _status_of(piece.command, stream, cwd, limit_s)
    seconds = record.seconds + time.monotonic() - start
    left_out = _copy(piece, folders)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    says = lines[-1][-300:] if lines else ""
    lost = [name for name in piece.leaves if not (folders.out / piece.name / name).exists()]
    state: State
    if status is None:
        of_the_call = limit_s < piece.limit_s  # not its own limit: the next call gives it more
        state = "stopped" if piece.resumes or of_the_call else "failed"
        says = f"took longer than {limit_s:.0f} s" + (", all that was left of this call" if of_the_call else "")
    elif status != 0:
        state, says = "failed", f"exit status {status}: {says}"
    elif lost:
        state, says = "failed", f"{', '.join(lost)}: " + ("no room" if set(lost) & set(left_out) else "not written")
    else:
        state = "finished"
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    return Record(piece.name, piece.command, state, round(seconds, 1), record.starts + 1, says, left_out, ended)


def _status_of(command: Sequence[str], stream: Any, cwd: Path, limit_s: float) -> int | None:
    """The exit status; None where the limit ended it. Processes that it started end with it."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # nothing waits for a network that is not there
    with subprocess.Popen(
        command, stdout=stream, stderr=stream, cwd=cwd, env=environment, start_new_session=True
    ) as process:
        try:
            return process.wait(limit_s - GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _copy(piece: Piece, folders: Folders) -> tuple[str, ...]:
    """Copies what a piece left and the end of its log; returns what there was no room for."""
    source, target = folders.work / piece.name, folders.out / piece.name
    target.mkdir(parents=True, exist_ok=True)
    for name in piece.leaves:
        (target / name).unlink(missing_ok=True)
    log = folders.log(piece).read_bytes()[-int(LOG_SHARE * folders.most_bytes) :]
    write_text(target / "log.txt", log.decode("utf-8", errors="replace"))
    wanted = [source / name for name in piece.leaves]
    wanted += [path for pattern in piece.also for path in sorted(source.glob(pattern))]
    left_out = []
    for path in (path for path in wanted if path.is_file()):
        name = path.relative_to(source)
        (target / name).unlink(missing_ok=True)
        if bytes_of(folders.out) + path.stat().st_size > (1 - TEXT_SHARE) * folders.most_bytes:
            left_out.append(str(name))
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
    return tuple(left_out)


def bytes_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table_of(pieces: Sequence[Piece], folders: Folders) -> str:
    """A row a piece: state, seconds, starts, and its figures or what it said last."""
    lines = ["| piece | state | s | starts | figures |", "|---|---|---:|---:|---|"]
    for piece in pieces:
        record = folders.record(piece)
        said = (figures_of(piece, folders.out) if record.state == "finished" else "") or record.says
        if record.left_out:
            said += f" (no room for {', '.join(record.left_out)})"
        said = said.replace("|", "/")
        lines.append(f"| {piece.name} | {record.state} | {record.seconds:.0f} | {record.starts} | {said} |")
    return "\n".join(lines) + "\n"


def figures_of(piece: Piece, out: Path) -> str:
    """Its figures, those of one pattern together, without the pattern's first words."""
    if not piece.figures:
        return ""
    content = read_json(out / piece.name / piece.leaves[0])
    said = []
    for pattern in piece.figures:
        found = [
            (name, value) for name, value in _picked(content, pattern.split(".")) if isinstance(value, int | float)
        ]
        what = [word for word in pattern.split(".") if word != "*"][-1]
        said += [f"{what}: " + ", ".join(f"{name} {value:.4g}".strip() for name, value in found)] if found else []
    return "; ".join(said)


def _picked(content: Any, keys: list[str]) -> list[tuple[str, Any]]:
    """What the keys lead to, each with the names that its `*` stand for."""
    if not keys:
        return [("", content)]
    if not isinstance(content, dict):
        return []
    if keys[0] == "*":
        return [
            (f"{name} {rest}".strip(), value) for name in content for rest, value in _picked(content[name], keys[1:])
        ]
    return _picked(content[keys[0]], keys[1:]) if keys[0] in content else []
