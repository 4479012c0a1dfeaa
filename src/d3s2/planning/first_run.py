"""A first run file for data that was just looked at: settings that suit its size and this machine.

The numbers are those of the recipes nearest to it: `camvid` and `ccp` on a CPU, wider networks, more steps and larger
images on a GPU. They are a start, not an optimum: `d3s2 ablate` compares others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from d3s2.base.machine.cores import num_cores
from d3s2.data.discovery import Findings, in_comment, written

Resize = Literal["stretch", "crop"]

SIDES_OF = 16
"""Sides are multiples of it, as the compact generator asks."""
SMALLEST_PX = 32
AREA_PX = {"cpu": 96 * 128, "cuda": 256 * 256}
"""Of the working size: what networks are fitted on in an hour or so."""
ALIKE = 1.1
"""Pictures whose aspect ratios differ by no more than this are stretched, others cropped."""
LARGE, SMALL = 0.01, 0.05
LARGE_FROM = 2_000
"""From so many pairs on 1 % of them are chosen, below it 5 %."""
FEWEST = 4


@dataclass(frozen=True)
class FirstRun:
    """What a run file begins with.

    Args:
        size_px: working size, (height, width).
        resize: what happens to another aspect ratio.
        num_masks: how many are chosen.
        machine: in words.
        width: of teacher and student.
        channels, fit_steps, fit_batch: of the compact generator.
        teacher_iterations, student_iterations: steps of a training.
    """

    size_px: tuple[int, int]
    resize: Resize
    num_masks: int
    machine: str
    width: tuple[int, int] = (24, 16)
    channels: tuple[int, ...] = (96, 160, 256)
    fit_steps: int = 4000
    fit_batch: int = 8
    teacher_iterations: int = 1000
    student_iterations: int = 1500


def first_run(found: Findings, device: torch.device) -> FirstRun:
    """Settings for the data on a device."""
    num_train = found.splits[found.train].num_pairs
    size_px, resize = working_size(found.contents.sizes, AREA_PX["cpu" if device.type == "cpu" else "cuda"])
    # Each class wants a mask or two; no more than a fifth of what is there, or nothing is distilled.
    share = LARGE if num_train >= LARGE_FROM else SMALL
    wanted = max(round(share * num_train), min(2 * len(found.names), num_train // 5), FEWEST)
    num_masks = max(1, min(wanted, num_train // 2))
    if device.type == "cpu":
        return FirstRun(size_px, resize, num_masks, f"{num_cores()} processor cores, no GPU")
    return FirstRun(
        size_px,
        resize,
        num_masks,
        f"one GPU ({device})",
        width=(48, 32),
        channels=(128, 256, 384),
        fit_steps=20_000,
        fit_batch=16,
        teacher_iterations=4000,
        student_iterations=3000,
    )


def working_size(sizes: Mapping[tuple[int, int], int], area_px: int) -> tuple[tuple[int, int], Resize]:
    """Height and width of about `area_px` or the largest picture in the usual ratio; how others are brought to it."""
    ratios = sorted(ratio for (height, width), count in sizes.items() for ratio in [height / width] * count)
    ratio = ratios[len(ratios) // 2]
    largest = max(height * width for height, width in sizes)
    width = math.sqrt(min(area_px, largest) / ratio)
    near = [(high, wide) for high in _near(width * ratio) for wide in _near(width)]
    # Of the sizes around it the one that distorts least, then the one of the nearest area.
    size = min(near, key=lambda one: (abs(math.log(one[0] / one[1] / ratio)), abs(one[0] * one[1] - ratio * width**2)))
    alike = ratios[-1] / ratio <= ALIKE and ratio / ratios[0] <= ALIKE
    return size, "stretch" if alike else "crop"


def _near(side: float) -> tuple[int, int]:
    """The multiples on either side."""
    low = math.floor(side / SIDES_OF)
    return max(SMALLEST_PX, SIDES_OF * low), max(SMALLEST_PX, SIDES_OF * (low + 1))


def run_file(found: Findings, run: FirstRun, dataset: str, path: Path) -> str:
    """The text of a run file.

    Args:
        found: the data.
        run: its settings.
        dataset: path of the data set file, or the name of a known data set.
        path: where the run file is to lie, for its comments.
    """
    height, width = run.size_px
    splits = found.splits
    name = found.root.name or "mine"
    data = [f"  dataset: {written(dataset)}"]
    if found.dataset != "folders":
        data += [f"  root: {written(str(found.root))}"]
        data += [f"  options: {written(found.options)}"] if found.options else []
    lines = [
        f"# Written by `d3s2 init` for {splits[found.train].num_pairs:,} pairs and {run.machine}. From here to a page:",
        f"#   d3s2 evaluate {in_comment(path)} --dry-run     # what it takes",
        f"#   d3s2 evaluate {in_comment(path)} --out {in_comment(Path('runs') / name)}",
        f"name: {written(name)}",
        "seed: 0",
        "data:",
        *data,
        f"  train: {written(found.train)}",
        f"  test: {written(found.test)}   # {splits[found.test].num_pairs:,} pairs; students are scored on them",
        f"  size: [{height}, {width}]   # height and width; multiples of 16. Larger shows more and takes longer",
        f"  resize: {run.resize}   # stretch, crop or pad",
        "select:",
        f"  num_masks: {run.num_masks}   # {run.num_masks / splits[found.train].num_pairs:.1%} of the training pairs",
        "  # group_by: '^[^_]+'    # where ids begin with a drive, a patient, a site: each is covered as a class is",
        "  # near_duplicates: 0.8  # for frames of a video",
        "teacher:",
        "  # source: FOLDER       # a network of transformers that knows these classes; otherwise one is fitted:",
        f"  train: {{iterations: {run.teacher_iterations}, batch: 8, lr: 0.002, width: {run.width[0]}}}",
        "generator:",
        f"  fit: {{channels: {written(list(run.channels))}, steps: {run.fit_steps}, batch: {run.fit_batch}, "
        "lr: 0.0005, rare_boost: 0.5}",
        "synthesize:",
        "  steps: 24",
        "  guidance_scale: 1.5",
        f"  batch: {min(8, run.num_masks)}",
        "  guidance: {strength: 0.5, rule: fast, window: [0.1, 0.8], energies: {segmentation: 1.0, features: 0.1}}",
        "evaluate:",
        "  seeds: 3",
        f"  train: {{iterations: {run.student_iterations}, batch: 8, lr: 0.002, width: {run.width[1]}}}",
    ]
    return "\n".join(lines) + "\n"
