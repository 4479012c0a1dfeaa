"""Damaged files by the thousand: how often each reader took them, named them, or did neither.

    OMP_NUM_THREADS=1 python benchmarks/mutated_inputs.py --count 10000 --seed 1

writes benchmarks/mutated_inputs_seed-1_<date>.json. The readers, the files and the damage are those of
tests/faults, where the suite takes a few hundred inputs of another seed. An input is made from (seed, number) alone.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults")]

from readers import READERS, make_run  # noqa: E402
from test_mutated_inputs import LARGEST_GIB, LONGEST_S, attack  # noqa: E402

from d3s2.base.machine.runtime import commit, hardware, versions  # noqa: E402

ENDS = ("accepted", "named", "bad")


def main() -> None:
    """Makes a run, damages its files, and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    path = ROOT / "benchmarks" / f"mutated_inputs_seed-{asked.seed}_{time.strftime('%Y-%m-%d')}.json"
    with tempfile.TemporaryDirectory() as scratch:
        make_run(Path(scratch) / "run")
        began, began_cpu = time.monotonic(), time.process_time()
        ends, problems = attack(Path(scratch) / "run", asked.count, asked.seed)
    rows = {name: {end: ends[name, end] for end in ENDS} for name in READERS}
    content = {
        "command": f"python benchmarks/mutated_inputs.py --count {asked.count} --seed {asked.seed}",
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "hardware": hardware(),
        "inputs": asked.count,
        "cpu_s": round(time.process_time() - began_cpu),
        "most_gib_an_input_may_take": LARGEST_GIB,
        "most_s_an_input_may_take": LONGEST_S,
        "problems": problems,
        "readers": rows,
        "versions": versions(),
        "wall_s": round(time.monotonic() - began),
        **{end: sum(row[end] for row in rows.values()) for end in ENDS},
    }
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print({key: content[key] for key in ("inputs", *ENDS, "problems", "wall_s", "cpu_s")})


if __name__ == "__main__":
    main()
