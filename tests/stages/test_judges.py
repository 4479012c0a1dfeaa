"""Judges keep vectors of the images that they read in one table, and judge again when a network was exchanged."""

import weakref
from pathlib import Path

import pytest
import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from tiny_run import TINY
from torch import Tensor

from d3s2.base.errors import StoreError
from d3s2.evaluation.judges import facts
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.loading import save_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.pipeline.judge import judge, read_for_judges
from d3s2.pipeline.run import Run
from d3s2.recipes import load_run

CPU = torch.device("cpu")
DATA = "data.options={count: {train: 100, test: 6}, size_px: [32, 48]}"


def some_run(folder: Path, seed: int) -> Run:
    """A run whose teacher was drawn from `seed`, under one name."""
    teacher = folder / "teacher"
    run = Run(load_run("scenes", [*TINY, DATA, f"teacher.source={teacher}", "evaluate.sets=[all]"]), folder, CPU)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_segmenter(CompactUNet(num_classes=18, width=8), teacher, run.train_data.space.names)
    return run


def test_what_is_kept_of_the_images_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, alive, original = [], [], facts._features

    def watched(net: Segmenter, images: UInt8[Tensor, "b 3 h w"], device: torch.device) -> Float[Tensor, "b d"]:
        rows = original(net, images, device)
        made.append(weakref.ref(rows))
        alive.append(sum(one() is not None for one in made))
        return rows

    monkeypatch.setattr(facts, "_features", watched)
    judge(some_run(tmp_path, 0))
    assert len(alive) == 4
    assert max(alive) == 1


def test_rows_are_those_that_came() -> None:
    parts = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    rows = facts.Rows(6)
    for part in parts:
        rows.append(part)
    assert torch.equal(rows.filled, parts.flatten(0, 1))


def test_a_teacher_that_was_exchanged_judges_again(tmp_path: Path) -> None:
    first = judge(some_run(tmp_path, 0))
    written = (tmp_path / "judges.json").stat().st_mtime_ns
    assert judge(some_run(tmp_path, 0)) == first
    assert (tmp_path / "judges.json").stat().st_mtime_ns == written
    assert judge(some_run(tmp_path, 1)).digest != first.digest


def test_parts_that_a_stopped_call_left_are_not_read_again(tmp_path: Path) -> None:
    run = some_run(tmp_path / "whole", 0)
    whole = judge(run)
    assert not (run.folder / "judges.parts").exists()
    again = some_run(tmp_path / "again", 0)
    read_for_judges(again)
    parts = sorted((again.folder / "judges.parts").rglob("*.safetensors"))
    assert [part.name for part in parts] == ["all-real-0000.safetensors"]
    (again.folder / "log.jsonl").unlink()
    assert judge(again).rows == whole.rows
    assert not (again.folder / "log.jsonl").exists()


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    run = some_run(tmp_path, 0)
    read_for_judges(run)
    part = next((tmp_path / "judges.parts").rglob("*.safetensors"))
    save_file({**load_file(part), "px": torch.tensor([2, 1])}, part, metadata={"network": "teacher", "layer": "x"})
    with pytest.raises(StoreError, match=r"all-real-0000\.safetensors: is a damaged part .*contradict each other"):
        judge(run)
