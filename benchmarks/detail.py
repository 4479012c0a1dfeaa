"""How far a compact generator's picture is from the image that was noised, by the share of noise, and with `detail`.

    python benchmarks/detail.py scenes --models shipped:scenes/generator --details 0 --out benchmarks/detail_DATE.json
    python benchmarks/detail.py camvid --root DATA/camvid --size 128 160 --models runs/camvid/models/generator

Root mean square errors over pixels in -1..1, on pairs of the test split that no fit has seen. `input` is the error of
the noisy image itself, x / (1 - t): a model that is worse than that has lost detail which it was shown.
"""

import argparse
import sys
from pathlib import Path

import torch
from side_by_side import parser_for, tell

from d3s2.base.machine.runtime import pick_device
from d3s2.base.pixels import to_unit
from d3s2.base.seeds import torch_generator
from d3s2.data.catalogue import open_split
from d3s2.data.pairs import Pairs, load_pairs
from d3s2.generator.compact.network import CompactGenerator, load_generator
from d3s2.hub import resolve_source
from d3s2.recipes import load_run

TIMES = (0.04, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8)


def main() -> None:
    """Prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    words = [f"data.size=[{args.size[0]},{args.size[1]}]"] if args.size else []
    words += [f"data.root={args.root}"] if args.root else []
    settings = load_run(args.recipe, words).data
    data = open_split(settings, settings.test)
    pairs = load_pairs(data, [*data.ids][:: max(1, len(data.ids) // args.count)][: args.count])
    found = {}
    for source in args.models:
        model, _ = load_generator(Path(resolve_source(source)), data.space.num_classes)
        model.to(device)
        for detail in [model.detail, *args.details]:
            model.detail = detail
            found.setdefault(source, {})[str(detail)] = errors(model, pairs, device)
    found["input"] = {str(t): t / (1 - t) for t in TIMES}
    tell("detail", device, args.out, {"dataset": data.name, "pairs": len(pairs), "rms_error": found})


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("recipe", help="whose test split is read")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--models", nargs="+", required=True, help="folders of compact generators")
    parser.add_argument("--details", type=float, nargs="*", default=[], help="besides what each was fitted with")
    parser.add_argument("--count", type=int, default=24)
    return parser.parse_args(words)


def errors(model: CompactGenerator, pairs: Pairs, device: torch.device) -> dict[str, float]:
    """Time -> root mean square error of x0; the noise is the same for every model."""
    images, classes = to_unit(pairs.images).to(device) * 2 - 1, model.classes_of(pairs.masks.to(device))
    found = {}
    for t in TIMES:
        noise = torch.randn(images.shape, generator=torch_generator(0, "detail", t)).to(device)
        with torch.no_grad():
            guess = model((1 - t) * images + t * noise, torch.full((len(images),), t, device=device), classes)
        found[str(t)] = round(float((guess - images).square().mean().sqrt()), 4)
    return found


if __name__ == "__main__":
    main()
