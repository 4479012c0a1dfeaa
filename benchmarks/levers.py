"""What single changes of a recipe do to what its distilled set teaches, on a validation split; the failed ones too.

    python benchmarks/levers.py scenes --work runs/levers --draws 3 --out benchmarks/levers-scenes_DATE.json

A lever is a few overrides. Each is distilled and its students are scored on the validation split; seed i learns from
draw i of the set, and every lever is compared with the class-balanced real subset and with the recipe as it is, seed by
seed. The test split is never read. Called again it resumes.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from side_by_side import parser_for, tell

from d3s2.base.machine.runtime import pick_device
from d3s2.pipeline import evaluate_run
from d3s2.pipeline.run import open_run
from d3s2.recipes import load_run
from d3s2.results import Results, SetResult
from d3s2.results.controls import compared_by_seed

LEVERS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "from noise": ("synthesize.start=1",),
    "start-0.5": ("synthesize.start=0.5",),
    "whole masks": ("select.strips=1",),
    "whole masks, from noise": ("select.strips=1", "synthesize.start=1"),
    "strips-3": ("select.strips=3",),
    "unguided": ("synthesize.guidance.strength=0",),
    "strength-0.25": ("synthesize.guidance.strength=0.25",),
    "strength-1": ("synthesize.guidance.strength=1",),
    "guidance_scale-1": ("synthesize.guidance_scale=1",),
    "guidance_scale-2": ("synthesize.guidance_scale=2",),
    "early guidance": ("synthesize.guidance.window=[0.2, 0.3]",),
}
"""Name -> what it changes of a recipe that puts masks together and starts from their pixels, as `scenes` does."""


def main() -> None:
    """Runs what is asked for, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    found: dict[str, dict[str, SetResult]] = {}
    told: dict[str, Any] = {}
    for name in args.levers:
        results = scored(args, name, device)
        found[name] = {row.name: row for row in results.sets}
        first = found[args.levers[0]]
        bases = {"balanced": first["balanced"], args.levers[0]: first["distilled"]}
        told[name] = {
            set_name: {
                "per_seed": row.per_seed["miou"],
                "tail_per_seed": row.per_seed["tail_miou"],
                "against": {base: against(row, other, base) for base, other in bases.items() if other is not row},
            }
            for set_name, row in found[name].items()
        }
        shown = {"recipe": args.recipe, "dataset": results.dataset, "draws": args.draws, "overrides": LEVERS}
        tell(f"levers-{args.recipe}", device, args.out, {**shown, "levers": told})


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("recipe")
    parser.add_argument("--work", type=Path, required=True, help="where runs go, one folder a lever")
    parser.add_argument("--draws", type=int, default=3, help="of each set, with one seed of the student each")
    parser.add_argument("--levers", nargs="+", default=list(LEVERS), choices=list(LEVERS))
    parser.add_argument("--set", nargs="*", default=[], help="overrides that hold for every lever")
    return parser.parse_args(words)


def scored(args: argparse.Namespace, name: str, device: Any) -> Results:
    """Distils with one lever, and trains its students; the first lever also has the real subset."""
    changed = [*args.set, *LEVERS[name]]
    sets = ["distilled"] + (["composed"] if load_run(args.recipe, changed).select.strips > 1 else [])
    sets += ["balanced"] if name == args.levers[0] else []
    own = [f"evaluate.sets=[{', '.join(sets)}]", "evaluate.split=val", f"evaluate.draws={args.draws}"]
    own += [f"evaluate.seeds={args.draws}", "evaluate.workers=1", "synthesize.unguided_too=false"]
    own += ["synthesize.measure_cost=false", "synthesize.trace_every=0"]
    config = load_run(args.recipe, [*own, *changed])
    run = open_run(config, args.work / name.replace(", ", "-").replace(" ", "-"), device)
    return evaluate_run(run, " ".join(sys.argv))


def against(row: SetResult, base: SetResult, name: str) -> dict[str, Any] | None:
    """The ratio, and the paired difference in points with its interval."""
    first, second = (dict(zip(one.seeds, one.per_seed["miou"], strict=True)) for one in (row, base))
    comparison = compared_by_seed(row.name, name, row.student, first, second)
    return comparison and {"ratio": comparison.ratio, "points": comparison.text, "verdict": comparison.verdict}


if __name__ == "__main__":
    main()
