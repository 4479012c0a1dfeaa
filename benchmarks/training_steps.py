"""What augmentation and reading take of a student's training.

    python benchmarks/training_steps.py --out benchmarks/training-steps_DATE.json
    python benchmarks/training_steps.py --device cuda --network mask2former-swin-s --precision bfloat16 --sizes 512x512

Sides that take turns in one process: training steps as a student takes them, the same steps without augmentation,
augmentation alone, the same with kornia's `warp_affine` for images and for masks instead of our one grid for both, its
draws alone, which stay on the CPU where the network has a GPU, the loader alone, which reads PNG files ahead on
threads, and the steps with this loader in place of pictures in memory. A compact-unet, or another --network, learns
from `scenes`: 8 pictures of 64 x 96 px a step, and 16 crops of 512 x 512 px. `ratio` is the median over rounds of each
side's seconds by those of the steps; seconds are of the processor on a CPU, of the clock on a GPU.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from kornia.enhance import (
    adjust_brightness_accumulative,
    adjust_contrast_with_mean_subtraction,
    adjust_hue,
    adjust_saturation_with_gray_subtraction,
)
from kornia.geometry.transform import warp_affine
from side_by_side import parser_for, seconds_of, tell
from torch import Tensor

from d3s2.base.machine.moving import to_device
from d3s2.base.machine.runtime import pick_device, reduced, torch_threads
from d3s2.base.pixels import to_unit
from d3s2.base.train_ids import IGNORE
from d3s2.data.dataset import Entry, FileDataset
from d3s2.data.files.image_files import png_bytes
from d3s2.data.known.scenes import SPACE, Scenes
from d3s2.data.pairs import FilePairs, PairSource, in_order, load_pairs
from d3s2.nets.fresh import ARCHITECTURES, new_segmenter
from d3s2.student.augment import Variation, augment, draw_variation
from d3s2.student.settings import AugmentationSettings
from d3s2.student.training import PRECISIONS

SIZES = {"tiny": ((32, 48), None, 2, 1), "64x96": ((64, 96), None, 8, 8), "512x512": ((512, 512), (512, 512), 16, 1)}
"""Name -> size of the pictures, crop, pictures a step, steps a round."""
IN_MEMORY = 32


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    parser = parser_for(__doc__, rounds=4)
    parser.add_argument("--network", choices=list(ARCHITECTURES), default="compact-unet")
    parser.add_argument("--precision", choices=sorted(PRECISIONS), default="float32")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["64x96", "512x512"])
    args = parser.parse_args(sys.argv[1:])
    device = pick_device(args.device)
    how = {"network": args.network, "precision": args.precision}
    with torch_threads(1):
        measured = {name: measure(*SIZES[name], **how, device=device, rounds=args.rounds) for name in args.sizes}
        tell("training steps", device, args.out, {**how, **measured})


def measure(
    size_px: tuple[int, int],
    crop_px: tuple[int, int] | None,
    batch: int,
    steps: int,
    *,
    network: str,
    precision: str,
    device: torch.device,
    rounds: int,
) -> dict[str, Any]:
    """Seconds a step of each side, and their ratios to a whole step."""
    source = Scenes("train", IN_MEMORY, size_px)
    pairs = load_pairs(source, source.ids)
    net = new_segmenter(network, SPACE.num_classes, seed=0).to(device).train()
    how = AugmentationSettings(crop_px=crop_px)
    work = Work(net, pairs, size_px, how, batch, steps, device, PRECISIONS[precision])
    with tempfile.TemporaryDirectory() as folder:
        files = FilePairs(as_files(source, Path(folder)), source.ids)
        sides: dict[str, Callable[[], None]] = {
            "steps": partial(work.train, augmented=True),
            "without augmentation": partial(work.train, augmented=False),
            "augmentation alone": partial(work.vary, augment),
            "augmentation with kornia's warps": partial(work.vary, with_kornia),
            "draws alone": work.draw,
            "loader alone": partial(read, files, batch, steps),
            "steps with the loader": replace(work, pairs=files).train,
        }
        taken = seconds_of(sides, rounds, device)
    return {
        "pictures_a_step": batch,
        "seconds_a_step": {name: round(statistics.median(taken[name]) / steps, 5) for name in sides},
        "steps_a_second": {name: round(steps / statistics.median(taken[name]), 3) for name in sides},
        "ratio": {
            name: round(statistics.median(a / b for a, b in zip(taken[name], taken["steps"], strict=True)), 4)
            for name in sides
        },
        "rounds": rounds,
    }


@dataclass
class Work:
    """A network, its optimiser, and the pictures it learns from."""

    net: Any
    pairs: PairSource
    size_px: tuple[int, int]
    how: AugmentationSettings
    batch: int
    steps: int
    device: torch.device
    dtype: torch.dtype | None

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.AdamW(self.net.parameters())

    def draws(self) -> list[range]:
        whole = [draw for draw in in_order(len(self.pairs), self.batch) if len(draw) == self.batch]
        return [whole[step % len(whole)] for step in range(self.steps)]

    def moved(self) -> Any:
        for batch in self.pairs.batches(self.draws()):
            yield to_unit(to_device(batch.images, self.device)), to_device(batch.masks, self.device)

    def varied(self, how: Callable[..., Any]) -> Any:
        for images, masks in self.moved():
            variation = draw_variation(len(masks), self.size_px, self.how, torch.Generator().manual_seed(0))
            yield how(images, masks, variation)

    def draw(self) -> None:
        for step in range(self.steps):
            draw_variation(self.batch, self.size_px, self.how, torch.Generator().manual_seed(step))

    def vary(self, how: Callable[..., Any]) -> None:
        for _ in self.varied(how):
            pass

    def train(self, augmented: bool = True) -> None:
        for images, masks in self.varied(augment) if augmented else self.moved():
            self.optimiser.zero_grad(set_to_none=True)
            with reduced(self.device, self.dtype):
                loss = self.net.loss(images, masks)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()


def with_kornia(
    images: Tensor, masks: Tensor, variation: Variation
) -> tuple[Float[Tensor, "b 3 y x"], UInt8[Tensor, "b y x"]]:
    """Augmentation by kornia's functions alone, as it was before: each warp makes a grid, that of masks twice."""
    matrix, seen_px = to_device(variation.matrix, images.device), variation.seen_px
    contrast, brightness, saturation, hue = to_device(variation.colours, images.device).unbind(dim=1)
    ignored = torch.full((1,), float(IGNORE), device=images.device)
    moved = warp_affine(images, matrix, seen_px, padding_mode="border")
    moved_masks = warp_affine(masks[:, None].float(), matrix, seen_px, "nearest", "fill", fill_value=ignored)
    moved = adjust_brightness_accumulative(adjust_contrast_with_mean_subtraction(moved, contrast), brightness)
    moved = adjust_hue(adjust_saturation_with_gray_subtraction(moved, saturation), hue)
    return moved, moved_masks[:, 0].round().to(torch.uint8)


def read(pairs: FilePairs, batch: int, steps: int) -> None:
    """What the loader does for as many steps, with nobody to use it."""
    for _ in pairs.batches([[(step * batch + index) % len(pairs) for index in range(batch)] for step in range(steps)]):
        pass


def as_files(source: Scenes, folder: Path) -> FileDataset:
    """The pairs as PNG files, each read when it is asked for."""
    entries = []
    for item_id in source.ids:
        entry = Entry(item_id, folder / f"{item_id}-image.png", folder / f"{item_id}-mask.png")
        entry.image.write_bytes(png_bytes(source.image(item_id)))
        entry.mask.write_bytes(png_bytes(source.mask(item_id)))
        entries.append(entry)
    return FileDataset(source.name, source.space, tuple(entries))


if __name__ == "__main__":
    main()
