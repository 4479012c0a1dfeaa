"""Measures mask selection: what class-balanced selection covers against the alternatives, and how fast it is.

Prints one JSON object on the last line. Small by default (half a minute); everything that the documentation shows:

    python benchmarks/selection.py --full --object-info objectInfo150.csv --ccp CCP --camvid CAMVID --out result.json

objectInfo150.csv comes with ADE20K's benchmark, here with a column Train (training images that hold the class).
CCP holds `masks/`, `classes.txt` and `train.txt`; CAMVID holds `trainannot/`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from simulated_census import ADE20K_MASKS, ade20k_frequencies, count_folder, simulate, stretched

from d3s2.base.formats.files import write_json
from d3s2.base.machine.runtime import commit, hardware, peak_memory_gib, versions
from d3s2.data.census.counts import MaskCensus
from d3s2.selection.coverage import classes_of, levels_of
from d3s2.selection.greedy import greedy_fast, greedy_lazy
from d3s2.selection.objectives import LogCoverage
from d3s2.selection.select import make_shortlist, masks_for_ratio, select_masks

NUM_DRAWS = 20
COCO_MASKS, COCO_CLASSES = 118_287, 171
FEATURE_METHODS = ("k-center", "herding", "facility-location")
FEATURES_UP_TO = 50_000
"""Masks up to which the methods on features are run: they take minutes beyond."""

CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)

Worlds = dict[str, tuple[MaskCensus, tuple[float, ...]]]
"""Name -> census and the ratios to look at."""


def main() -> None:
    """Runs the parts that were asked for; parts that are in the result already are kept."""
    arguments = parse(sys.argv[1:])
    held, share = ade20k_frequencies(arguments.object_info)
    coco = stretched(held, share, COCO_CLASSES)
    scale = 1 if arguments.full else 20
    simulated = {
        "ADE20K frequencies": (simulate(ADE20K_MASKS // scale, held, share), (0.01,)),
        "COCO-Stuff scale": (simulate(COCO_MASKS // scale, *coco), (0.01,)),
    }
    worlds: Worlds = simulated | real_worlds(arguments.ccp, arguments.camvid)
    census = simulated["COCO-Stuff scale"][0]
    sizes = arguments.sizes or ([100_000, 300_000, 1_000_000] if arguments.full else [10_000, 30_000])
    parts: dict[str, Callable[[], Any]] = {
        "coverage": lambda: coverage_of(worlds),
        "sweep": lambda: [row for name, (world, _) in worlds.items() for row in sweep(name, world)],
        "masks_per_class": lambda: masks_per_class(worlds["ADE20K frequencies"][0]),
        "near_duplicates": lambda: near_duplicates(worlds),
        "speed": lambda: speed(census, arguments.repeats),
        "against_textbook_lazy": lambda: against_textbook(census),
        "against_apricot": lambda: against_apricot(census.rows(range(min(len(census), 10_000)))),
        "against_apricot_full": lambda: against_apricot(census),
        "curve": lambda: [at_size(size, coco) for size in sizes],
    }
    result = json.loads(arguments.out.read_text()) if arguments.out and arguments.out.exists() else {}
    for name, part in parts.items():
        if name in (arguments.parts or parts):
            result |= {name: part(), "conditions": result.get("conditions", {}) | {name: conditions()}}
            if arguments.out:
                write_json(arguments.out, result)
    print(json.dumps(result))


def conditions() -> dict[str, Any]:
    """Under which a part was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "command": " ".join(["python benchmarks/selection.py", *(Path(word).name for word in sys.argv[1:])]),
        "hardware": hardware(),
        "versions": versions(),
        "note": "one thread on a shared machine, whose wall times are therefore long: compare processor seconds",
    }


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="ADE20K and COCO-Stuff at their own size")
    parser.add_argument("--object-info", type=Path, help="ADE20K's objectInfo150.csv")
    parser.add_argument("--ccp", type=Path, help="folder of Clothing Co-Parsing")
    parser.add_argument("--camvid", type=Path, help="folder of CamVid")
    parser.add_argument("--sizes", type=int, nargs="*", help="numbers of masks for the curve")
    parser.add_argument("--parts", nargs="*", help="parts to measure, keys of the result; default all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    return parser.parse_args(words)


def real_worlds(ccp: Path | None, camvid: Path | None) -> Worlds:
    """Censuses of real masks, with the ratios to look at."""
    worlds = {}
    if ccp:
        names = tuple((ccp / "classes.txt").read_text(encoding="utf-8").split())
        ids = (ccp / "train.txt").read_text(encoding="utf-8").split()
        worlds["CCP"] = (count_folder([ccp / "masks" / f"{name}.png" for name in ids], names, reduce=4), (0.01, 0.05))
    if camvid:
        paths = sorted((camvid / "trainannot").glob("*.png"))
        worlds["CamVid"] = (count_folder(paths, CAMVID_CLASSES, reduce=2), (0.01, 0.05))
    return worlds


def rarest_third(census: MaskCensus) -> np.ndarray:
    """Classes that some mask holds, by the masks that hold them and then by pixels: the first third."""
    order = np.lexsort((census.class_px, census.images_per_class))
    present = [c for c in order if census.images_per_class[c]]
    return np.array(present[: max(1, round(len(present) / 3))])


def measures(census: MaskCensus, ids: tuple[str, ...]) -> dict[str, float]:
    """What a chosen set covers."""
    row_of = {item_id: row for row, item_id in enumerate(census.ids)}
    chosen = census.rows([row_of[item_id] for item_id in ids])
    held, tail = chosen.images_per_class, rarest_third(census)
    present = census.images_per_class > 0
    return {
        "classes_left_out": int((present & (held == 0)).sum()),
        "classes_under_3_masks": int((present & (held < np.minimum(3, census.images_per_class))).sum()),
        "tail_masks_per_class": float(held[tail].mean()),
        "tail_pixels_percent": float(100 * chosen.class_px[tail].sum() / chosen.class_px.sum()),
    }


def mean_measures(census: MaskCensus, choose: Callable[[int], tuple[str, ...]]) -> dict[str, Any]:
    """Mean and standard deviation of the measures over seeds."""
    draws = [measures(census, choose(seed)) for seed in range(NUM_DRAWS)]
    columns = {key: np.array([draw[key] for draw in draws]) for key in draws[0]}
    return {key: float(values.mean()) for key, values in columns.items()} | {
        f"{key}_std": float(values.std(ddof=1)) for key, values in columns.items()
    }


def coverage_of(worlds: Worlds) -> list[dict[str, Any]]:
    """Every method on every world."""
    return [
        row for name, (census, ratios) in worlds.items() for ratio in ratios for row in compare(name, census, ratio)
    ]


def compare(world: str, census: MaskCensus, ratio: float) -> list[dict[str, Any]]:
    """A row a method."""
    num_masks = masks_for_ratio(ratio, len(census))
    base = {
        "world": world,
        "ratio": ratio,
        "num_masks": num_masks,
        "num_classes": int((census.images_per_class > 0).sum()),
    }
    settings = {f"class-balanced, {kind}": {"coverage": kind} for kind in ("mixed", "presence", "mass")}
    settings |= {method: {"method": method} for method in ("rarest-first", "stratified")}
    if len(census) <= FEATURES_UP_TO:
        settings |= {method: {"method": method} for method in FEATURE_METHODS}
    rows = []
    for name, setting in settings.items():
        start = time.process_time()
        ids = select_masks(census, num_masks, **setting).ids
        row = {"method": name, "cpu_s": time.process_time() - start}
        rows.append(base | row | measures(census, ids))
        say(f"{world} {ratio:g} {name}: {row['cpu_s']:.2f} s")
    random = mean_measures(census, lambda seed: select_masks(census, num_masks, method="random", seed=seed).ids)
    return [*rows, base | {"method": "random", "draws": NUM_DRAWS} | random]


def sweep(world: str, census: MaskCensus) -> list[dict[str, Any]]:
    """Classes left out against the ratio."""
    rows = []
    for ratio in (0.005, 0.01, 0.02, 0.05, 0.1):
        num_masks = masks_for_ratio(ratio, len(census))
        balanced = measures(census, select_masks(census, num_masks).ids)
        random = [
            measures(census, select_masks(census, num_masks, method="random", seed=seed).ids)["classes_left_out"]
            for seed in range(5 if len(census) > 50_000 else NUM_DRAWS)
        ]
        rows.append(
            {
                "world": world,
                "ratio": ratio,
                "balanced_left_out": balanced["classes_left_out"],
                "random_left_out": float(np.mean(random)),
            }
        )
    return rows


def masks_per_class(census: MaskCensus) -> dict[str, list[float]]:
    """Chosen masks that hold each class at 1 %, classes in order of frequency."""
    order, num_masks = np.argsort(-census.images_per_class, kind="stable"), masks_for_ratio(0.01, len(census))

    def held(method: str, seed: int = 0) -> np.ndarray:
        chosen = set(select_masks(census, num_masks, method=method, seed=seed).ids)
        rows = [row for row, item_id in enumerate(census.ids) if item_id in chosen]
        return census.rows(rows).images_per_class[order]

    random = np.stack([held("random", seed) for seed in range(NUM_DRAWS)])
    return {"balanced": held("class-balanced").tolist(), "random": random.mean(axis=0).tolist()}


def near_duplicates(worlds: Worlds) -> list[dict[str, Any]]:
    """On video: the closest pair of chosen frames, with and without the constraint."""
    if "CamVid" not in worlds:
        return []
    census = worlds["CamVid"][0]
    row_of = {item_id: row for row, item_id in enumerate(census.ids)}
    found = []
    for threshold in (None, 0.9, 0.8):
        ids = select_masks(census, 37, near_duplicates=threshold).ids
        layouts = census.layouts[[row_of[item_id] for item_id in ids]]
        agreement = (layouts[:, None] == layouts[None]).mean(axis=2)
        closest = float(agreement[~np.eye(len(ids), dtype=bool)].max())
        found.append({"world": "CamVid", "threshold": threshold, "closest_agreement": closest, **measures(census, ids)})
    return found


def speed(census: MaskCensus, repeats: int) -> dict[str, Any]:
    """The whole call, from the census in memory."""
    num_masks, times = masks_for_ratio(0.01, len(census)), {}
    for kind in ("mixed", "presence", "mass"):
        times[kind] = timed(lambda kind=kind: select_masks(census, num_masks, coverage=kind), repeats)
        say(f"{len(census)} masks, {num_masks} chosen, {kind}: {times[kind]}")
    base = {"num_all": len(census), "num_classes": census.num_classes, "num_masks": num_masks}
    return base | {"repeats": repeats, **times}


def timed(work: Callable[[], object], repeats: int = 1) -> dict[str, float]:
    """Medians over some calls; seconds of processor time do not grow where other work shares the machine."""
    walls, spent = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - start)
        spent.append(time.process_time() - start_cpu)
    return {"wall_s": float(np.median(walls)), "cpu_s": float(np.median(spent))}


def against_textbook(census: MaskCensus) -> dict[str, Any]:
    """The heap that textbooks give, on the same gains."""
    num_masks = masks_for_ratio(0.01, len(census))
    shortlists = [make_shortlist(census, num_masks) for _ in range(2)]
    fast = timed(lambda: greedy_fast(shortlists[0]))
    heap = timed(lambda: greedy_lazy(shortlists[1]))
    say(f"fast {fast}, heap {heap}")
    return {
        "num_all": len(census),
        "fast": fast,
        "heap": heap,
        "ratio_cpu": heap["cpu_s"] / fast["cpu_s"],
        "equal": shortlists[0].picks == shortlists[1].picks,
    }


def against_apricot(census: MaskCensus) -> list[dict[str, Any]]:
    """apricot-select's optimisers on the same matrix and objective, one thread, without the time of compiling."""
    try:
        import numba
        from apricot import FeatureBasedSelection
    except ImportError:
        return [{"num_all": len(census), "failed": "apricot-select is not installed"}]
    numba.set_num_threads(1)
    num_masks = masks_for_ratio(0.01, len(census))
    shortlist = make_shortlist(census, num_masks)
    codes, starts = shortlist.coverage.codes, shortlist.coverage.starts
    matrix = scipy.sparse.csr_matrix(
        (levels_of(codes) / 32.0, classes_of(codes).astype(np.int32), starts.astype(np.int32)),
        shape=(len(census), census.num_classes),
    )
    objective = LogCoverage(np.ones(census.num_classes), np.zeros(census.num_classes, dtype=np.int64))
    ours = select_masks(census, num_masks)
    ours_times = timed(lambda: select_masks(census, num_masks), repeats=3)
    rows = []
    for optimizer in ("two-stage", "lazy", "naive", "approximate-lazy", "stochastic"):
        selector = FeatureBasedSelection(num_masks, "log", optimizer=optimizer, random_state=0)
        compiled = time_initialisation(selector)
        times = timed(lambda selector=selector: selector.fit(matrix))
        covered = np.rint(np.asarray(matrix[selector.ranking].sum(axis=0)).ravel() * 32).astype(np.int64)
        row = {"num_all": len(census), "num_masks": num_masks, "optimizer": optimizer}
        row |= {f"apricot_{key}": value - compiled[key] for key, value in times.items()}
        row |= {f"ours_{key}": value for key, value in ours_times.items()}
        row["ratio_cpu"] = row["apricot_cpu_s"] / row["ours_cpu_s"]
        row |= {"apricot_value": objective.value(covered), "ours_value": ours.value}
        rows.append(row)
        say(f"apricot {optimizer}, {len(census)} masks: {row['ratio_cpu']:.1f} times the processor time")
    return rows


def time_initialisation(selector: Any) -> dict[str, float]:
    """apricot compiles its kernels when a fit begins; the result holds the cost of that afterwards."""
    cost: dict[str, float] = {}
    initialise = selector._initialize
    selector._initialize = lambda *arguments: cost.update(timed(lambda: initialise(*arguments)))
    return cost


def at_size(num_all: int, curves: list[np.ndarray]) -> dict[str, Any]:
    """Wall time and peak memory at one size."""
    census = simulate(num_all, *curves)
    num_masks = min(10_000, masks_for_ratio(0.01, num_all))
    before = peak_memory_gib()
    times = timed(lambda: select_masks(census, num_masks))
    say(f"{num_all} masks, {num_masks} chosen: {times}")
    held = (census.pixels.data.nbytes + census.pixels.indices.nbytes) / 2**30
    return {
        "num_all": num_all,
        "num_masks": num_masks,
        **times,
        "pixels_gib": held,
        "peak_memory_gib": peak_memory_gib(),
        "peak_memory_before_gib": before,
    }


def say(text: str) -> None:
    """Progress goes to the error stream: the last line of the output is the result."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
