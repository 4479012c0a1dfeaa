"""What soft labels of several sizes are worth: bytes, and mIoU of students, on the images of one finished run.

    python benchmarks/soft_labels.py runs/demo --work runs/soft --out benchmarks/soft-labels_DATE.json

The images stay as they are. For each variant the run's teacher reads them again, its distribution is kept in cells of
`cell_px` pixels with `num_top` classes, and students of the recipe's protocol learn from the set; masks alone come
first, whose students are those of the run where it was evaluated. Called again it resumes.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from side_by_side import parser_for, tell

from d3s2.base.formats.files import sha256_text
from d3s2.base.machine.runtime import pick_device
from d3s2.base.pixels import to_unit
from d3s2.pipeline.evaluate import compare_sets
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run, read_config
from d3s2.store.items import ItemFacts
from d3s2.store.manifest import PROVENANCE
from d3s2.store.reader import DistilledSet
from d3s2.store.soft import soften
from d3s2.store.soft.labels import soft_bytes
from d3s2.store.writer import SetWriter

VARIANTS = "4x4 2x4 1x4 1xall"
"""Side of a cell in pixels x classes kept in it."""

KEPT = ("items", "bytes", "seeds", "scores", "per_seed")


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    run = Run(read_config(args.run), args.run, device)
    made = dict(sets(run, args.variants, args.work))
    names = {"masks alone": "distilled"} | {name: f"{folder}-soft" for name, folder in made.items()}
    update = {"sets": tuple(names.values()), "workers": args.workers, "seeds": args.seeds}
    asked = run.config.evaluate.model_copy(update=update)
    config = run.config.model_copy(update={"evaluate": asked})
    results, _ = compare_sets(replace(run, config=config), args.run)
    rows = {row.name: row for row in results.sets}
    variants = {name: told(rows[set_name], made.get(name)) for name, set_name in names.items()}
    shown = {"run": config.name, "size": run.config.data.size, "soft_weight": asked.soft_weight}
    shown["train"] = asked.train.model_dump(mode="json")
    tell("soft-labels", device, args.out, {**shown, "variants": variants})


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=1)
    parser.add_argument("run", type=Path, help="folder of a run that d3s2 distill finished; its students go there")
    parser.add_argument("--work", type=Path, required=True, help="where the sets with soft labels go")
    parser.add_argument("--variants", nargs="+", default=VARIANTS.split())
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args(words)


@torch.no_grad()
def sets(run: Run, variants: list[str], work: Path) -> Iterator[tuple[str, Path]]:
    """Writes the run's set once a variant, with soft labels; yields (variant, folder)."""
    teacher, source = fit_teacher(run), DistilledSet(run.folder)
    for variant in variants:
        cell_px, _, top = variant.partition("x")
        num_top = source.space.num_classes if top == "all" else int(top)
        digest = sha256_text(f"{source.manifest['items_sha256']} {cell_px} {num_top}")
        writer = SetWriter(work / variant, digest, source.space)
        if not writer.finished:
            for item in source.items:
                image = torch.from_numpy(source.image(item.item_id)).permute(2, 0, 1)[None].to(run.device)
                shares = teacher(to_unit(image)).scores[0].float().softmax(dim=0)
                facts = ItemFacts(source_id=item.source_id, seed=item.seed, candidate=item.candidate)
                soft = soften(shares, num_top, int(cell_px))
                writer.write(item.item_id, source.image(item.item_id), source.mask(item.item_id), facts, soft)
            writer.finish({key: source.manifest[key] for key in PROVENANCE})
        yield variant, work / variant


def told(row: Any, folder: Path | None) -> dict[str, Any]:
    """Scores of one variant, and the bytes of its soft labels."""
    scores = {key: value for key, value in asdict(row).items() if key in KEPT}
    if folder is None:
        return scores | {"soft_bytes": 0}
    kept = DistilledSet(folder)
    labels = [kept.soft(item_id) for item_id in kept.ids]
    size = sum(len(soft_bytes(soft)) for soft in labels if soft is not None)
    return scores | {"cell_px": labels[0].cell_px, "num_top": len(labels[0].classes), "soft_bytes": size}


if __name__ == "__main__":
    main()
