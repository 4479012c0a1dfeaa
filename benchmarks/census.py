"""How fast the census is against decoding alone and against a loop over classes, and what it needs in memory.

    python benchmarks/census.py --out benchmarks/census_DATE.json [--masks FOLDER] [--workers 2]

Without --masks it draws masks of ADE20K's size and number of classes. Rates are over the same files in the same
process pool, the sides taking turns; the ratio is the median over the rounds.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from d3s2.base.errors import DataError
from d3s2.data.census.take import MASKS_PER_TASK, read_bad, take_census
from d3s2.data.dataset import Entry, FileDataset
from d3s2.data.files.image_files import png_decode
from d3s2.data.label_space import LabelSpace
from d3s2.execution.local import Local
from d3s2.pipeline.work.census import counting_by

NUM_CLASSES = 150
SIZE_PX = (512, 683)


def draw_masks(folder: Path, count: int, size_px: tuple[int, int]) -> None:
    """Masks with regions like a photograph's: smooth noise decides the borders, some pixels are ignored."""
    folder.mkdir(parents=True)
    for index in range(count):
        rng = np.random.default_rng(index)
        classes = rng.choice(NUM_CLASSES, 12, replace=False)
        layers = [rng.normal(size=(size_px[0] // 40 + 2, size_px[1] // 40 + 2)).astype(np.float32) for _ in classes]
        smooth = [Image.fromarray(layer).resize(size_px[::-1], Image.Resampling.BICUBIC) for layer in layers]
        mask = classes.astype(np.uint8)[np.argmax(np.stack([np.asarray(layer) for layer in smooth]), axis=0)]
        mask[: rng.integers(1, 20)] = 255
        Image.fromarray(mask).save(folder / f"{index:06d}.png")


def dataset_of(paths: Sequence[Path], num_classes: int = NUM_CLASSES) -> FileDataset:
    """A data set of masks only."""
    space = LabelSpace("benchmark", tuple(f"class {c}" for c in range(num_classes)))
    return FileDataset("benchmark", space, tuple(Entry(path.stem, path, path) for path in paths))


def decode(paths: Sequence[Path]) -> int:
    """The other side: Pillow decodes each file, nothing is done with the pixels."""
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
    return len(paths)


def loop_over_classes(dataset: FileDataset, ids: Sequence[str]) -> int:
    """The usual way: decode, then compare the mask with each class in turn."""
    for item_id in ids:
        mask = np.array(Image.open(dataset.entry(item_id).mask))
        [int((mask == c).sum()) for c in range(dataset.space.num_classes)]
    return len(ids)


def in_processes(work: Callable[[Any], int], tasks: Sequence[Any], workers: int) -> None:
    """Runs tasks as the census runs its own: spawned processes, or this one."""
    if workers <= 1:
        for task in tasks:
            work(task)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(work, task) for task in tasks]:
            future.result()


def to_arrays(paths: Sequence[Path]) -> int:
    """Decoding into arrays, as programs that go on to use the masks do."""
    for path in paths:
        with Image.open(path) as picture:
            np.asarray(picture)
    return len(paths)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall time and processor time (its finished children's included) of one call."""
    start, cpu = time.perf_counter(), cpu_s()
    work()
    return time.perf_counter() - start, cpu_s() - cpu


def cpu_s() -> float:
    """Processor time of this process and its finished children."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def rates(paths: Sequence[Path], workers: int, rounds: int, scratch: Path) -> dict[str, Any]:
    """Masks a second of the census, of decoding alone and of decoding into arrays, in turns."""
    dataset = dataset_of(paths)
    tasks = [paths[start : start + MASKS_PER_TASK] for start in range(0, len(paths), MASKS_PER_TASK)]

    def census() -> None:
        shutil.rmtree(scratch, ignore_errors=True)
        take_census(dataset, scratch, count=counting_by(Local([("cpu",)], workers)))

    sides: dict[str, Callable[[], None]] = {
        "census": census,
        "decode": partial(in_processes, decode, tasks, workers),
        "to_arrays": partial(in_processes, to_arrays, tasks, workers),
    }
    decode(paths)
    took: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in list(sides)[:: 1 if number % 2 == 0 else -1]:
            took[side].append(seconds(sides[side]))
    wall_s = {side: [wall for wall, _ in times] for side, times in took.items()}
    busy_s = {side: [cpu for _, cpu in times] for side, times in took.items()}
    return {
        "masks": len(paths),
        "workers": workers,
        "rounds": rounds,
        "masks_per_s": {side: round(len(paths) / statistics.median(times), 1) for side, times in wall_s.items()},
        "ratio_to_decode": ratio(wall_s, "decode"),
        "ratio_to_arrays": ratio(wall_s, "to_arrays"),
        "ratio_to_decode_by_processor_time": ratio(busy_s, "decode"),
        "ratio_to_arrays_by_processor_time": ratio(busy_s, "to_arrays"),
    }


def ratio(times: dict[str, list[float]], side: str) -> float:
    """The census's rate over a side's: the median over rounds."""
    return round(statistics.median(o / c for o, c in zip(times[side], times["census"], strict=True)), 3)


def against_loop(paths: Sequence[Path], scratch: Path) -> dict[str, Any]:
    """How many times faster than a loop over classes, in this process."""
    dataset = dataset_of(paths)
    shutil.rmtree(scratch, ignore_errors=True)
    _, ours = seconds(lambda: take_census(dataset, scratch))
    _, theirs = seconds(lambda: loop_over_classes(dataset, dataset.ids))
    again, _ = seconds(lambda: take_census(dataset, scratch))
    return {
        "masks": len(paths),
        "classes": NUM_CLASSES,
        "times_faster_than_loop_by_processor_time": round(theirs / ours, 1),
        "again_from_cache_s": round(again, 3),
    }


def bad_among_good(folder: Path, scratch: Path, workers: int, num_good: int) -> dict[str, Any]:
    """Good masks and 37 bad ones of five kinds: whether each is named, and none of the good."""
    good = folder / "good.png"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (48, 64), dtype=np.uint8)).save(good)
    content = good.read_bytes()
    rng = np.random.default_rng(1)
    bad = set(rng.choice(num_good + 37, 37, replace=False).tolist())
    paths = [folder / f"{index:06d}.png" for index in range(num_good + 37)]
    for kind, path in enumerate(paths[index] for index in sorted(bad)):
        spoil(path, kind % 5, content)
    for index, path in enumerate(paths):
        if index not in bad:
            os.link(good, path)
    dataset = dataset_of(paths)
    shutil.rmtree(scratch, ignore_errors=True)
    start = time.perf_counter()
    try:
        take_census(dataset, scratch, count=counting_by(Local([("cpu",)], workers)))
        lines: list[str] = []
    except DataError as error:
        lines = str(error).splitlines()
    wall_s = time.perf_counter() - start
    named = set(read_bad(scratch))
    kept = take_census(dataset, scratch, skip_bad=True)
    return {
        "good": num_good,
        "bad": len(bad),
        "named_exactly": named == {f"{index:06d}" for index in bad},
        "lines_of_the_report": len(lines),
        "last_line": lines[-1].strip() if lines else "",
        "kept_when_skipped": len(kept),
        "wall_s": round(wall_s, 1),
    }


def spoil(path: Path, kind: int, content: bytes) -> None:
    """Empty, cut short, no picture, a label outside the space, a colour picture."""
    if kind < 3:
        path.write_bytes([b"", content[: len(content) // 2], b"no picture at all"][kind])
    elif kind == 3:
        Image.fromarray(np.full((8, 8), 200, dtype=np.uint8)).save(path)
    else:
        Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)


MEMORY_SCRIPT = "memory"


def memory_of(folder: Path, count: int, scratch: Path) -> None:
    """One measurement, in a process of its own: resident memory before, at the end of counting, and of the record."""
    paths = [folder / f"{index:07d}.png" for index in range(count)]
    dataset = dataset_of(paths)
    dataset.pair_stamp(dataset.ids[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peaks: dict[str, int] = {}

    class Watch:
        def __enter__(self) -> "Watch":
            peaks["start"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return self

        def __exit__(self, *_: object) -> None:
            peaks["counted"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def task(self, label: str, total: int, done: int = 0) -> "Watch":
            return self

        def advance(self, steps: int = 1, note: str = "") -> None: ...

        def say(self, text: str) -> None: ...

    census = take_census(dataset, scratch, progress=Watch())
    record = sum(part.nbytes for part in (census.pixels.data, census.pixels.indices, census.pixels.indptr))
    record += census.mask_px.nbytes + (census.layouts.nbytes if census.layouts is not None else 0)
    end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mib = {
        "ids_and_stamps": peaks["start"] - before,
        "counting": peaks["counted"] - peaks["start"],
        "whole_process": end,
    }
    print(
        json.dumps(
            {"masks": count, **{k: round(v / 1024, 1) for k, v in mib.items()}, "record": round(record / 2**20, 1)}
        )
    )


def memory(folder: Path, counts: Sequence[int], scratch: Path) -> list[dict[str, Any]]:
    """Memory in MiB for growing numbers of (tiny) masks."""
    folder.mkdir()
    for kind in range(100):
        mask = np.random.default_rng(kind).integers(0, NUM_CLASSES, (4, 5), dtype=np.uint8)
        Image.fromarray(mask).save(folder / f"kind{kind}.png")
    for index in range(max(counts)):
        os.link(folder / f"kind{index % 100}.png", folder / f"{index:07d}.png")
    found = []
    for count in counts:
        call = [str(folder), str(count), str(scratch / str(count))]
        with os.popen(" ".join([sys.executable, __file__, MEMORY_SCRIPT, *call])) as stream:
            found.append(json.loads(stream.read().splitlines()[-1]))
    return found


def main() -> None:
    """Runs every part and prints one JSON object on the last line."""
    if sys.argv[1:2] == [MEMORY_SCRIPT]:
        memory_of(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
        return
    # Here, because it loads torch, and every worker process loads this file.
    from d3s2.base.machine.runtime import commit, hardware, versions

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=Path, help="a folder of index PNG masks; default: drawn ones")
    parser.add_argument("--count", type=int, default=400, help="how many masks are drawn, or taken of the folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--good", type=int, default=10_000, help="good masks among which 37 bad ones are looked for")
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 10_000, 40_000, 100_000])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if chosen.masks is None:
            draw_masks(place / "masks", chosen.count, SIZE_PX)
        paths = sorted((chosen.masks or place / "masks").glob("*.png"))[: chosen.count]
        result = {
            "benchmark": "census",
            "command": " ".join(["python", *sys.argv]),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": commit(),
            "hardware": hardware(),
            "versions": versions(),
            "decoder": "libpng" if png_decode is not None else "pillow",
            "masks": "drawn, 512 x 683 px" if chosen.masks is None else str(chosen.masks),
            "alone": rates(paths, 1, chosen.rounds, place / "cache"),
            "processes": rates(paths, chosen.workers, chosen.rounds, place / "cache"),
            "loop": against_loop(paths[:100], place / "cache"),
            "bad_files": bad_among_good(place / "bad", place / "bad_cache", chosen.workers, chosen.good),
            "memory_mib": memory(place / "many", chosen.memory, place / "memory") if chosen.memory else [],
        }
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
