"""Two students have one digest only where their numbers are the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TINY

from d3s2.evaluation.grid import TestSplit, student_jobs
from d3s2.evaluation.students import StudentJob
from d3s2.pipeline.evaluate import sets_of
from d3s2.pipeline.run import Run
from d3s2.recipes import load_run


def job(folder: Path, *words: str) -> StudentJob:
    """The first student of an evaluation; trains nothing."""
    run = Run(load_run("scenes", [*TINY, "evaluate.sets=[random]", *words]), folder, torch.device("cpu"))
    test = TestSplit(run.test_digest, tuple(run.test_census.class_px.tolist()))
    settings, data = run.config.evaluate, run.config.data
    return next(
        student_jobs(settings, data, sets_of(run), test, folder=folder, judge=folder / "judge", device=run.device)
    )


def with_cores(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    monkeypatch.setattr("d3s2.base.machine.runtime._cpu_flags", lambda: flags)


def test_the_format_that_auto_means_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_cores(monkeypatch, "sse avx512_bf16")
    reduced = job(tmp_path)
    with_cores(monkeypatch, "sse")
    plain, asked = job(tmp_path), job(tmp_path, "evaluate.train.precision=float32")
    assert reduced.digest != plain.digest
    assert plain.digest == asked.digest
    assert reduced.record != plain.record


def test_the_weights_of_a_backbone_are_part_of_it_and_its_place_is_not(tmp_path: Path) -> None:
    def digest(name: str, weights: bytes) -> str:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(weights)
        return job(tmp_path, f"evaluate.architectures=[{{name: segformer-b0, backbone: {folder}}}]").digest

    first = digest("one", b"some weights")
    assert digest("two", b"some weights") == first
    assert digest("one", b"other weights") != first


@pytest.mark.parametrize(
    "words",
    [
        ("data.options={count: {train: 24, test: 6}, size_px: [32, 48], seed: 1}",),
        ("data.test=val",),
        ("evaluate.train.iterations=3",),
        ("evaluate.train.lr=0.001",),
        ("evaluate.inference={window_px: [32, 32], stride_px: [16, 16]}",),
        ("evaluate.devices_per_student=2",),
        ("seed=1",),
    ],
)
def test_whatever_numbers_follow_from_is_part_of_it(words: tuple[str, ...], tmp_path: Path) -> None:
    plain, other = job(tmp_path / "one"), job(tmp_path / "two", *words)
    assert plain.digest != other.digest
    differing: set[Any] = {key for key in plain.depends if plain.depends[key] != other.depends[key]}
    assert differing


def test_workers_and_how_often_a_student_is_scored_are_not(tmp_path: Path) -> None:
    words = ("evaluate.workers=2", "evaluate.score_every=1", "evaluate.checkpoint_s=5", "data.memory_gib=0")
    assert job(tmp_path, *words).digest == job(tmp_path).digest
