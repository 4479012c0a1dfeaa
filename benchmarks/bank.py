"""How many pairs a second the feature bank takes in, with the whole teacher at work.

    python benchmarks/bank.py --size 512 --batch 8 --device cuda --out benchmarks/bank_gpu_DATE.json

The teacher has random weights and the paper's shape, Mask2Former Swin-S with 150 classes; pairs of random pixels wait
in memory. The peak counts the teacher and its feature maps.
"""

import statistics
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from full_size_models import blocks, label_space
from side_by_side import parser_for, peak_gib_of, seconds_of, tell

from d3s2.base.machine.determinism import reproducible
from d3s2.base.machine.moving import to_device
from d3s2.base.machine.runtime import pick_device
from d3s2.base.pixels import to_unit
from d3s2.base.seeds import torch_generator
from d3s2.data.pairs import Pairs
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import load_segmenter, save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.teacher.bank import gather_bank

SPACE = label_space(150)


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    parser = parser_for(__doc__, rounds=3)
    parser.add_argument("--teacher", default="mask2former-swin-s")
    parser.add_argument("--size", type=int, default=128, help="px, both sides of the pictures")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--batches", type=int, default=4)
    args = parser.parse_args(sys.argv[1:])
    device = pick_device(args.device)
    with TemporaryDirectory() as folder:
        save_segmenter(new_segmenter(args.teacher, SPACE.num_classes, seed=0), Path(folder), SPACE.names)
        teacher = load_segmenter(Path(folder), SPACE.names, device=device)
    shape = (args.batch, args.size, args.size)
    images = torch.randint(0, 256, (args.batch, 3, *shape[1:]), dtype=torch.uint8, generator=torch_generator(0, "bank"))
    gather = partial(gathered, teacher, Pairs(images, blocks(shape, SPACE.num_classes)), args.batches, device)
    memory = peak_gib_of(gather, device)
    seconds = statistics.median(seconds_of({"bank": gather}, args.rounds, device)["bank"])
    how = {"teacher": args.teacher, "size_px": args.size, "batch": args.batch, "rounds": args.rounds}
    pairs = args.batch * args.batches
    tell("bank", device, args.out, {**how, "pairs": pairs, "pairs_per_s": pairs / seconds, **memory})


def gathered(teacher: Segmenter, pairs: Pairs, batches: int, device: torch.device) -> None:
    """The same batch so many times; each time it travels to the device, as pairs that were read do."""
    moved = ((to_unit(to_device(pairs.images, device)), to_device(pairs.masks, device)) for _ in range(batches))
    with torch.no_grad(), reproducible(device):
        layers = list(teacher(to_unit(to_device(pairs.images[:1], device))).features)
        gather_bank(teacher, moved, layers, {})


if __name__ == "__main__":
    main()
