"""The log of a run: a line of JSON for each piece of work that this call did, beside the run."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from d3s2.base.formats.files import naming
from d3s2.execution.pieces import Outcome
from d3s2.execution.settings import Share
from d3s2.execution.shares import ELSEWHERE

Result = TypeVar("Result")


def log_path(folder: Path, share: Share | None = None) -> Path:
    """Where it lies: processes that share a run have one each."""
    return folder / ("log.jsonl" if share is None else f"log-{share.file_name}.jsonl")


def logged(path: Path, step: str, outcomes: Iterator[Outcome[Result]]) -> Iterator[Outcome[Result]]:
    """The outcomes, each with a line in the log before it is handed on: step, piece, seconds, memory, worker."""
    for outcome in outcomes:
        if outcome.worker != ELSEWHERE:
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "step": step,
                "piece": outcome.piece,
                "wall_s": outcome.wall_s,
                "memory_gib": outcome.memory_gib,
                "worker": outcome.worker,
            }
            with naming(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
        yield outcome
