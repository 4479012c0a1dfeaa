"""Runs that are killed, starved and disturbed, and then resumed: whether each has the bytes of an undisturbed one.

    python benchmarks/faults.py --kills 50 --seed 1

writes benchmarks/faults_seed-1_<hardware>_<date>.json. Kills come at random moments over all steps, in turn to each
executor and line (`d3s2 evaluate` and `d3s2 ablate`), --times of them to a run, which is resumed after each; of every
other fault there are --others trials. The faults are those of tests/faults/interrupted.py, and --faults names some of
them. Linux only; a full disk needs the right to mount a small file system (else `ulimit -f` alone is tried).
"""

import argparse
import json
import re
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import cycle, islice, product
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

from interrupted import FAULTS, LINES, Trial, can_mount, changed_data, tried, undisturbed  # noqa: E402

from d3s2.base.machine.runtime import commit, hardware, versions  # noqa: E402

KILLS = ("SIGKILL", "SIGKILL of all")
CHANGED_DATA = "changed data"
POOLS = ("two workers", "ray")
FITTING = {"worker killed": POOLS, "each worker killed": POOLS, "each share killed": ("shares",)}


def plan(
    runs: int, others: int, faults: Sequence[str], executors: Sequence[str], lines: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """(fault, executor, line) of every trial, `runs` of them of runs that are killed."""
    kills = [fault for fault in KILLS if fault in faults]
    yield from islice(cycle((fault, *where) for where in product(executors, lines) for fault in kills), runs)
    for number, fault in enumerate(fault for fault in faults if fault not in KILLS):
        fitting = FITTING.get(fault, executors if fault in ("SIGTERM", "Ctrl-C") else executors[:2])
        known = [*product([one for one in fitting if one in executors], lines)]
        for turn in range(others if known else 0):
            yield fault, *known[(number + turn) % len(known)]


def main() -> None:
    """Makes the undisturbed run, then trial after trial, and keeps the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--times", type=int, default=3, help="kills of one run, which is resumed after each")
    parser.add_argument("--others", type=int, default=4, help="trials of each other fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--executors", default="one process,two workers,shares,ray")
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--faults", default=",".join([*FAULTS, CHANGED_DATA]))
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="no trial begins later than this")
    asked = parser.parse_args()
    random, trials, began = Random(asked.seed), [], time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        executors, lines = asked.executors.split(","), asked.lines.split(",")
        whole = {line: undisturbed(scratch / f"whole-{line}", line) for line in lines}
        faults = asked.faults.split(",")
        known = [one for one in FAULTS if one in faults and (one != "full disk" or can_mount(scratch / "mount"))]
        planned = list(plan(-(-asked.kills // asked.times), asked.others, known, executors, lines))
        random.shuffle(planned)  # so that a limit of time leaves some of each
        begin: dict[str, Any] = {"commit": commit(), "planned": len(planned)}
        if CHANGED_DATA in faults:
            begin["changed_data_problems"] = changed_data(scratch / "changed")
        for number, (fault, executor, line) in enumerate(planned):
            if time.monotonic() - began > asked.limit_s:
                break
            times, drawn = asked.times if fault in KILLS else 1, Random(f"{asked.seed} {number}")
            trials.append(tried(fault, executor, line, scratch / f"{number:04d}", whole[line], drawn, times))
            print(f"{number + 1}/{len(planned)}", trials[-1], file=sys.stderr, flush=True)
            keep(trials, asked.seed, begin | {"wall_s": round(time.monotonic() - began)})


def keep(trials: list[Trial], seed: int, more: dict[str, Any]) -> None:
    """Writes the figures of the trials so far."""
    happened = [(one, moment) for one in trials for moment in one.happened]
    kept = {
        "command": f"python {shlex.join(['benchmarks/faults.py', *sys.argv[1:]])}",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "hardware": hardware(),
        "versions": versions(),
        "trials": len(trials),
        "happened": len(happened),
        "kills": sum("kill" in one.fault.lower() for one, _ in happened),
        "by_fault": Counter(one.fault for one, _ in happened),
        "by_executor": Counter(one.executor for one, _ in happened),
        "by_line": Counter(one.line for one, _ in happened),
        "by_last_step": Counter(moment.step for _, moment in happened),
        "verified": Counter("clean" if one.verified == "clean" else "named" for one in trials),
        "without_problem": sum(not one.problems for one in trials),
        "problems": [
            f"{one.fault}, {one.executor}, {one.line}: {problem}" for one in trials for problem in one.problems
        ],
        "rows": [asdict(one) for one in trials],
        **more,
    }
    machine = re.sub(r"[^a-z0-9]+", "-", f"{kept['hardware']['cpu']} {kept['hardware']['cores']} cores".lower())
    path = ROOT / "benchmarks" / f"faults_seed-{seed}_{machine.strip('-')}_{kept['date'][:10]}.json"
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
