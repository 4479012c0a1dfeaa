"""Two or more ways to do the same work in one process: seconds in turns, most memory held, and where that was."""

import argparse
import ctypes
import gc
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from d3s2.base.formats.files import write_json
from d3s2.base.machine.runtime import commit, hardware, versions

POLL_S = 0.005
PAGE_BYTES = 4096
MEMORY = Path("/proc/self/statm")


def seconds_of(sides: Mapping[str, Callable[[], Any]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Each side once a round; every second round backwards, so that none always runs on a warmer machine.

    On the CPU it counts processor seconds, which other processes of the machine do not change. A first round that is
    not counted warms up.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            seconds = seconds_of_one(sides[name], device)
            if number:
                taken[name].append(seconds)
    return taken


def seconds_of_one(action: Callable[[], Any], device: torch.device) -> float:
    """Wall seconds on a GPU, processor seconds on a CPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, device: torch.device) -> dict[str, Any]:
    """Seconds and ratio of two sides."""
    taken = seconds_of({"ours": ours, "theirs": theirs}, rounds, device)
    return {
        "ratio": statistics.median(a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True)),
        "ratio_of_fastest": min(taken["ours"]) / min(taken["theirs"]),
        "ours_s": statistics.median(taken["ours"]),
        "theirs_s": statistics.median(taken["theirs"]),
        "rounds": rounds,
    }


def peak_gib_of(action: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """The most memory that is held during `action`, and by how much that is more than before it.

    On the CPU it is the resident memory of the process (Linux), looked at every few milliseconds; what earlier work
    left behind is handed back first.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        action()
        peak = torch.cuda.max_memory_allocated()
    else:
        ctypes.CDLL(None).malloc_trim(0)
        before = _resident_bytes()
        peak = _most_resident_bytes(action)
    return {"peak_gib": round(peak / 2**30, 3), "beyond_start_gib": round((peak - before) / 2**30, 3)}


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, which is forked from one that has only imported the script."""
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(function, *arguments).result()


def parser_for(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The arguments that every comparison has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path)
    return parser


def tell(benchmark: str, device: torch.device, out: Path | None, measured: Mapping[str, Any]) -> None:
    """Prints what was measured, and where, as one JSON object on the last line, and writes it where asked."""
    result = {
        "benchmark": benchmark,
        "hardware": hardware(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
        "versions": versions(),
        **measured,
    }
    if out:
        write_json(out, result)
    print(json.dumps(result))


def _most_resident_bytes(action: Callable[[], Any]) -> int:
    peak, done = _resident_bytes(), threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(POLL_S):
            peak = max(peak, _resident_bytes())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        action()
    finally:
        done.set()
        looking.join()
    return max(peak, _resident_bytes())


def _resident_bytes() -> int:
    return int(MEMORY.read_text().split()[1]) * PAGE_BYTES
