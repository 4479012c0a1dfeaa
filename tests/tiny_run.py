"""A run of the whole line that takes seconds: real networks, tiny sizes, through the command line."""

import sys
from pathlib import Path

import pytest

from d3s2.cli import main

TINY = (
    "teacher.source=null",
    "generator.model=null",
    "teacher.train.iterations=3",
    "teacher.train.batch=4",
    "teacher.train.width=8",
    "generator.fit.steps=2",
    "generator.fit.batch=2",
    "generator.fit.channels=[32, 32]",
    "data.size=[32, 48]",
    "data.options={count: {train: 24, test: 6}, size_px: [32, 48]}",
    "select.ratio=0.2",
    "select.strips=1",
    "synthesize.start=1",
    "synthesize.steps=3",
    "synthesize.batch=2",
    "synthesize.measure_cost=false",
    "evaluate.train.iterations=2",
    "evaluate.train.width=8",
    "evaluate.seeds=2",
    "evaluate.workers=1",
    "evaluate.sets=[random, balanced, distilled-unguided, distilled, all]",
)


def call(*words: str) -> int:
    """Runs `d3s2 WORDS` in this process; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["d3s2", *words])
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
    return 0


def distil(out: Path, *words: str) -> int:
    """`d3s2 distill scenes` at tiny size into `out`."""
    return call("distill", "scenes", *TINY, *words, "--out", str(out), "--device", "cpu")


def content(folder: Path) -> dict[str, bytes]:
    """Every file of the distilled sets in a run that has to be the same bytes from run to run."""
    patterns = (
        "images/*",
        "labels/*",
        "soft/*",
        "items.parquet",
        "unguided/images/*",
        "unguided/labels/*",
        "unguided/soft/*",
        "unguided/items.parquet",
    )
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
