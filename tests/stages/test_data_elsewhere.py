"""A run follows what the data holds, not where it lies or when it was copied; and it sees when that is changed."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_layouts import write_ade20k
from tiny_run import TINY, call, content

from d3s2.results.records import read_results

WORDS = (
    *(word for word in TINY if not word.startswith("data.")),
    "data.dataset=ade20k",
    "data.test=val",
    "data.size=[32, 48]",
    "evaluate.sets=[random, distilled]",
    "evaluate.seeds=1",
)


def evaluate(data: Path, out: Path) -> int:
    return call("evaluate", "ccp", f"data.root={data}", *WORDS, "--out", str(out), "--device", "cpu")


@pytest.fixture
def copied(tmp_path: Path) -> tuple[Path, Path]:
    """A finished run, and a copy of its data elsewhere with other times; the data that it was made from is gone."""
    data, copy, out = write_ade20k(tmp_path / "data"), tmp_path / "copy", tmp_path / "run"
    assert evaluate(data, out) == 0
    shutil.copytree(data, copy)
    for path in copy.rglob("*.*"):
        os.utime(path, ns=(1, 1))
    shutil.rmtree(data)
    return copy, out


def test_a_copy_of_the_data_elsewhere_is_the_same_data(copied: tuple[Path, Path]) -> None:
    data, out = copied
    students = {path.name: path.stat().st_mtime_ns for path in (out / "students").iterdir()}
    made, table = content(out), [row.per_seed["miou"] for row in read_results(out / "results.json").sets]
    assert evaluate(data, out) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (out / "students").iterdir()} == students
    assert content(out) == made
    assert [row.per_seed["miou"] for row in read_results(out / "results.json").sets] == table


def test_data_that_was_changed_is_not_taken_for_what_the_networks_were_fitted_on(
    copied: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = copied
    made = content(out)
    path = next(data.rglob("annotations/training/*.png"))
    mask = np.array(Image.open(path))
    mask[0, 0] = 1 + mask[0, 0] % 150  # a single pixel
    Image.fromarray(mask).save(path)
    assert evaluate(data, out) == 1
    said = capsys.readouterr().err
    assert "models/teacher: was fitted on other data than ade20k/train holds now; choose another --out" in said
    assert content(out) == made


def test_a_bad_mask_of_the_test_split_is_named_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_ade20k(tmp_path / "data"), tmp_path / "run"
    bad = next(data.rglob("annotations/validation/*.png"))
    bad.write_bytes(bad.read_bytes()[:40])
    assert evaluate(data, out) == 1
    assert bad.name in capsys.readouterr().err
    assert not (out / "manifest.json").exists()
    assert not (out / "models").exists()
