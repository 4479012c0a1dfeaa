"""What scheduling costs: pieces that sleep, on two workers, by each executor, beside a bare loop in two processes.

    python benchmarks/scheduling.py --out benchmarks/scheduling_DATE.json

Each turn runs the bare loop and every executor once, in this order. `worker_s` adds up, over workers, what passes from
when a worker's first piece begins to when its last one has ended; the bare loop is two processes that each sleep
through half the pieces. `ready_s` is what passes until the first piece begins: processes start, torch is imported, Ray
starts; that is once a step, whatever the number of pieces. Pieces sleep, so that other work on the machine disturbs
little; what is left is what handing out pieces and results costs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from d3s2.base.formats.files import write_json
from d3s2.base.machine.runtime import commit, hardware, versions
from d3s2.execution.executors import cluster_of, executor_of
from d3s2.execution.pieces import Outcome, Piece, Work
from d3s2.execution.settings import Execution

WORKERS, BAR = 2, 0.05
Span = tuple[float, float]


def looping(seconds: float) -> Callable[[int], list[Span]]:
    """The task: sleeps so many times, and tells when each began and ended, in seconds of the machine's clock."""
    return partial(_loop, seconds)


def _loop(seconds: float, count: int) -> list[Span]:
    return [_sleep(seconds) for _ in range(count)]


def _sleep(seconds: float) -> Span:
    begun = time.time()
    time.sleep(seconds)
    return begun, time.time()


def measured(kind: str, num_pieces: int, seconds: float) -> dict[str, float]:
    """One run of all pieces."""
    called = time.time()
    spans = defaultdict[str, list[Span]](list)
    for outcome in _loops(num_pieces, seconds) if kind == "loop" else _pieces(kind, num_pieces, seconds):
        spans[outcome.worker] += outcome.result
    assert sum(map(len, spans.values())) == num_pieces
    worker_s = sum(max(ended for _, ended in own) - min(begun for begun, _ in own) for own in spans.values())
    first = min(begun for own in spans.values() for begun, _ in own)
    return {"worker_s": round(worker_s, 3), "ready_s": round(first - called, 3)}


def _loops(num_pieces: int, seconds: float) -> Iterator[Outcome[list[Span]]]:
    halves = [Piece(str(number), num_pieces // WORKERS) for number in range(WORKERS)]
    return _run(Execution(workers=WORKERS), Work("loop", looping, seconds), halves)


def _pieces(kind: str, num_pieces: int, seconds: float) -> Iterator[Outcome[list[Span]]]:
    pieces = [Piece(f"{number:06d}", 1) for number in range(num_pieces)]
    return _run(Execution(kind, workers=WORKERS), Work("sleep", looping, seconds), pieces)


def _run(execution: Execution, work: Work[Any, Any], pieces: Sequence[Piece[Any]]) -> Iterator[Outcome[list[Span]]]:
    with TemporaryDirectory() as folder, cluster_of(execution):
        yield from executor_of(execution, Path(folder), torch.device("cpu")).run(work, pieces)


def main() -> None:
    """Measures, prints one JSON object, and writes it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pieces", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    turns = [
        {kind: measured(kind, asked.pieces, asked.seconds) for kind in ("loop", "local", "ray")}
        for _ in range(asked.turns)
    ]
    overheads = {
        kind: [round(turn[kind]["worker_s"] / turn["loop"]["worker_s"] - 1, 4) for turn in turns]
        for kind in ("local", "ray")
    }
    medians = {kind: statistics.median(values) for kind, values in overheads.items()}
    told = {
        "benchmark": "scheduling",
        "pieces": asked.pieces,
        "piece_s": asked.seconds,
        "workers": WORKERS,
        "turns": turns,
        "overhead": overheads,
        "median_overhead": medians,
        "bar": BAR,
        "bar_kept": all(value < BAR for value in medians.values()),
        "hardware": hardware(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "versions": versions(),
        "command": " ".join(["python", *sys.argv]),
    }
    if asked.out:
        write_json(asked.out, told)
    print(json.dumps(told, indent=2))
    raise SystemExit(0 if told["bar_kept"] else 1)


if __name__ == "__main__":
    here = str(Path(__file__).resolve().parent)
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
    # Workers import the functions from the module of this file, not from `__main__`.
    import scheduling

    scheduling.main()
