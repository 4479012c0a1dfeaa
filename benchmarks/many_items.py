"""How much main memory each part of a run takes as its data grow from 1,000 to 100,000 simulated items.

    OMP_NUM_THREADS=1 python benchmarks/many_items.py --out benchmarks/many-items_DATE.json

Each part works in a process of its own for each number of items. What is told is the most memory that it held while it
worked, above what the process held before (imports, a network, and for `select` the simulated census), and from the
least to the most items the bytes that each further item costs. Pairs are 16 x 16 px of noise, so that pixels that were
held by mistake would show: a pair is 1 KiB. Files lie in /dev/shm where there is one: each is synced when it is
written, which takes a disk many minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from side_by_side import tell
from simulated_census import ade20k_frequencies, simulate

from d3s2.base.machine.determinism import reproducible
from d3s2.base.pixels import to_unit
from d3s2.data.census.take import take_census
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import FilePairs, in_order
from d3s2.execution.local import Local
from d3s2.execution.log import logged
from d3s2.execution.pieces import Piece, Work
from d3s2.nets.fresh import new_segmenter
from d3s2.selection import select_masks
from d3s2.store import DistilledSet, ItemFacts, SetWriter
from d3s2.store.verification import verify
from d3s2.student import TrainSettings, train
from d3s2.teacher import gather_part

NUMBERS = (1_000, 10_000, 100_000)
NUM_CLASSES, SIDE_PX, BATCH = 150, 16, 16
CPU = torch.device("cpu")
SHARED_MEMORY = Path("/dev/shm")
SPACE = LabelSpace("noise", tuple(f"class {number}" for number in range(NUM_CLASSES)))
Part = Callable[[int, Path], Callable[[], object]]
"""From a number of items and an empty folder to the work that is measured."""


@dataclass(frozen=True)
class Noise:
    """Pairs of noise, made when they are read."""

    count: int
    name: str = "noise/train"
    space: LabelSpace = SPACE

    @property
    def ids(self) -> Sequence[str]:
        return [f"noise-{number:08d}" for number in range(self.count)]

    def image(self, item_id: str) -> np.ndarray:
        return np.random.default_rng(int(item_id[-8:])).integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)

    def mask(self, item_id: str) -> np.ndarray:
        rng = np.random.default_rng(int(item_id[-8:]))
        return np.sort(rng.choice(NUM_CLASSES, 8))[rng.integers(0, 8, (SIDE_PX, SIDE_PX))].astype(np.uint8)

    def pair_stamp(self, item_id: str) -> str:
        return item_id

    def pair_digest(self, item_id: str) -> str:
        return item_id


def select(count: int, folder: Path) -> Callable[[], object]:
    """One per cent of simulated masks of ADE20K's classes."""
    census = simulate(count, *ade20k_frequencies(None))
    return lambda: select_masks(census, max(1, count // 100))


def census(count: int, folder: Path) -> Callable[[], object]:
    """Every mask counted, and the counts read again."""

    def work() -> None:
        take_census(Noise(count), folder)
        take_census(Noise(count), folder)

    return work


def bank(count: int, folder: Path) -> Callable[[], object]:
    """Features of every pair, read a batch at a time."""
    net = new_segmenter("compact-unet", NUM_CLASSES, seed=0, width=8)

    def work() -> None:
        pairs = FilePairs(Noise(count), tuple(Noise(count).ids))
        batches = ((to_unit(some.images), some.masks) for some in pairs.batches(in_order(count, BATCH)))
        with reproducible(CPU):
            gather_part(net, batches, ["down1"])

    return work


def pieces(count: int, folder: Path) -> Callable[[], object]:
    """A plan of so many pieces through an executor, each with a line in the log."""

    def work() -> None:
        plan = [Piece(f"{number:06d}", (number,)) for number in range(count)]
        outcomes = Local([("cpu",)], 1).run(Work("nothing", begin_nothing), plan)
        for _ in logged(folder / "log.jsonl", "nothing", outcomes):
            pass

    return work


def begin_nothing(_: None) -> Callable[[tuple[int]], None]:
    """A task without any work."""
    return lambda content: None


def manifest(count: int, folder: Path) -> Callable[[], object]:
    """A set of so many items: written, finished, read and verified."""
    noise = Noise(count)
    provenance = {key: {} for key in ("inputs", "models", "versions", "cost", "config")} | {"commit": None}

    def work() -> None:
        writer = SetWriter(folder / "set", "digest", SPACE)
        for number, item_id in enumerate(noise.ids):
            # What items of a real set have: no two are alike, so that their table cannot be packed to nothing.
            energies = {"a": 1 / (number + 1)}
            facts = ItemFacts(
                item_id, number, 0, energies_before=energies, energies_after=energies, teacher_accuracy=0.5
            )
            writer.write(item_id, noise.image(item_id), noise.mask(item_id), facts)
        writer.finish(provenance)
        assert len(DistilledSet(folder / "set").items) == count
        assert verify(folder / "set").sound

    return work


def student(count: int, folder: Path) -> Callable[[], object]:
    """A few iterations of a training on so many pairs, which are read as they are needed."""
    net = new_segmenter("compact-unet", NUM_CLASSES, seed=0, width=8)
    settings = TrainSettings(iterations=20, batch=8, width=8)

    def work() -> None:
        pairs = FilePairs(Noise(count), tuple(Noise(count).ids))
        train(net, pairs, settings, seed=0, device=CPU)

    return work


PARTS: dict[str, Part] = {
    "select": select,
    "census": census,
    "bank": bank,
    "pieces": pieces,
    "manifest": manifest,
    "student": student,
}


def main() -> None:
    """Measures every part, prints one JSON object, and writes it where asked; or measures the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="parts that it holds already are kept")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--numbers", default=",".join(map(str, NUMBERS)))
    parser.add_argument("--one", nargs=2, metavar=("PART", "NUMBER"), help="measures this alone, in this process")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measured(PARTS[asked.one[0]], int(asked.one[1]))))
        return
    numbers = [int(number) for number in asked.numbers.split(",")]
    least, most = min(numbers), max(numbers)
    rows, growth = dict[str, dict[int, dict[str, float]]](), dict[str, int]()
    if asked.out and asked.out.exists():  # parts that were measured before
        before = json.loads(asked.out.read_text())
        rows, growth = before["parts"], before["bytes_a_further_item"]
    for name in asked.parts.split(","):
        row = rows[name] = {number: apart(name, number) for number in numbers}
        growth[name] = round((row[most]["mib"] - row[least]["mib"]) * 2**20 / (most - least))
        tell("many-items", CPU, asked.out, {"parts": rows, "bytes_a_further_item": growth})  # kept after each part


def apart(name: str, number: int) -> dict[str, float]:
    """One part in a process of its own."""
    command = [sys.executable, __file__, "--one", name, str(number)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(name, number, found, file=sys.stderr, flush=True)
    return found


def measured(part: Part, number: int) -> dict[str, float]:
    """MiB above what the process held before, and seconds."""
    pa.array([""])  # pyarrow imports pandas at its first array, where it is installed
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as scratch:
        work = part(number, Path(scratch))
        Path("/proc/self/clear_refs").write_text("5")
        before, began = memory_mib("VmRSS"), time.perf_counter()
        work()
        mib, wall_s = memory_mib("VmHWM") - before, time.perf_counter() - began
    return {"mib": round(mib, 1), "before_mib": round(before, 1), "wall_s": round(wall_s, 1)}


def memory_mib(name: str) -> float:
    """VmRSS is what this process holds, VmHWM the most since clear_refs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


if __name__ == "__main__":
    main()
