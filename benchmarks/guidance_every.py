"""What fewer gradients do to guidance: energies of the same images from the same noise, and seconds.

    python benchmarks/guidance_every.py --out benchmarks/guidance-every_DATE.json      minutes on two cores
    python benchmarks/guidance_every.py --items 2 --steps 3                            is everything in place?

The shipped networks of `scenes`, everything but the variant as in the recipe: for masks that class-balanced selection
takes out of 20 times as many, an image without guidance, and one for each variant of `guidance.every` and
`guidance.hold`. Told of each: the mean over the items of each energy of the finished images, in how many items it is
lower than without guidance, and the seconds of sampling against those of the unguided images.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from side_by_side import parser_for, tell

from d3s2.base.machine.runtime import pick_device
from d3s2.data.pairs import open_pairs
from d3s2.pipeline.fitting.fit import Models, fit_models
from d3s2.pipeline.run import Run
from d3s2.pipeline.select import select_run
from d3s2.recipes import load_run
from d3s2.synthesis.guided import guided_sample, item_noise
from d3s2.synthesis.items import SampledItem

VARIANTS: dict[str, tuple[str, ...]] = {
    "every 1": ("every=1",),
    "every 2": ("every=2",),
    "every 2, held": ("every=2", "hold=true"),
    "every 3": ("every=3",),
    "every 3, held": ("every=3", "hold=true"),
    "every 4, held": ("every=4", "hold=true"),
    "both, every 1": ("rule=both", "every=1"),
    "both, every 2, held": ("rule=both", "every=2", "hold=true"),
}
COMMON = ("synthesize.trace_every=0", "synthesize.measure_cost=false")


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    with tempfile.TemporaryDirectory(prefix="d3s2-every-") as scratch:
        run = run_of(args, Path(scratch), device)
        models = fit_models(run)
        ids = select_run(run).ids
    unguided, seconds = drawn(run, models, ids, guided=False)
    variants = {"unguided": told(unguided, unguided, seconds, seconds)}
    for name, words in VARIANTS.items():
        config = load_run("scenes", [*overrides(args), *(f"synthesize.guidance.{word}" for word in words)])
        guided, taken = drawn(replace(run, config=config), models, ids, guided=True)
        variants[name] = {**told(unguided, guided, seconds, taken), "overrides": list(words)}
        print(name, variants[name], file=sys.stderr)
    guidance = run.config.synthesize.guidance.model_dump(mode="json")
    shown = {"items": len(ids), "steps": run.config.synthesize.steps, "seed": args.seed, "guidance": guidance}
    tell("guidance-every", device, args.out, {**shown, "variants": variants})


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--steps", type=int, help="of sampling; the recipe's where it is not given")
    parser.add_argument("--strength", type=float, help="the recipe's where it is not given")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(words)


def overrides(args: argparse.Namespace) -> list[str]:
    """What every variant has in common."""
    count = f"data.options={{count: {{train: {20 * args.items}, test: 4}}}}"
    asked = [f"seed={args.seed}", count, "select.ratio=0.05", *COMMON]
    asked += [] if args.steps is None else [f"synthesize.steps={args.steps}"]
    return asked + ([] if args.strength is None else [f"synthesize.guidance.strength={args.strength}"])


def run_of(args: argparse.Namespace, folder: Path, device: torch.device) -> Run:
    """The recipe's run, in a folder that is forgotten afterwards."""
    return Run(load_run("scenes", overrides(args)), folder, device)


def drawn(run: Run, models: Models, ids: Sequence[str], *, guided: bool) -> tuple[list[SampledItem], float]:
    """The finished images of all masks, and the seconds that sampling them took."""
    items: list[SampledItem] = []
    settings, seconds = run.config.synthesize, 0.0
    for begin in range(0, len(ids), settings.batch):
        batch = ids[begin : begin + settings.batch]
        noises = [item_noise(run.config.seed, source_id) for source_id in batch]
        masks = open_pairs(run.train_data, batch).take_masks(range(len(batch)))
        sampled = guided_sample(
            models.generator, models.teacher, models.bank, masks, noises, settings, device=run.device, guided=guided
        )
        items += sampled.items
        seconds += sampled.trace.wall_s
    return items, seconds


def told(
    before: Sequence[SampledItem], after: Sequence[SampledItem], before_s: float, after_s: float
) -> dict[str, Any]:
    """Energies and seconds of one variant."""
    pairs = list(zip(before, after, strict=True))
    names = before[0].energies
    return {
        "energies": {name: fmean(one.energies[name] for one in after) for name in names},
        "fell": {name: sum(two.energies[name] < one.energies[name] for one, two in pairs) for name in names},
        "accuracy": fmean(one.accuracy for one in after),
        "seconds": after_s,
        "ratio": after_s / before_s,
    }


if __name__ == "__main__":
    main()
