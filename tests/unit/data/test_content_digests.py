"""What the digest of a pair follows from: every byte of image and mask, and nothing else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from d3s2.data.census.take import take_census
from d3s2.data.dataset import Entry, FileDataset, ResizedDataset
from d3s2.data.label_space import LabelSpace

NAMES = ("sky", "road", "tree")


def picture(path: Path, seed: int) -> Path:
    """An image without compression: all of one size have one length."""
    values = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def mask(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 3, (8, 12), dtype=np.uint8)).save(path)
    return path


def some_data(folder: Path) -> FileDataset:
    folder.mkdir(exist_ok=True)
    entries = tuple(
        Entry(str(seed), picture(folder / f"{seed}.bmp", seed), mask(folder / f"m{seed}.bmp", seed + 10))
        for seed in range(3)
    )
    return FileDataset("some/train", LabelSpace("three", NAMES), entries)


def digest(data: FileDataset, cache: Path) -> str:
    return take_census(ResizedDataset(data, (8, 12)), cache).digest


def swapped(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def rewritten_with_its_time(path: Path) -> None:
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 3
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def swap_folders(folder: Path) -> None:
    other = folder.with_name("other")
    shutil.copytree(folder, other, copy_function=shutil.copy2)
    for path in other.glob("[0-9]*.bmp"):
        rewritten_with_its_time(path)
    swapped(folder, other)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: swapped(folder / "0.bmp", folder / "1.bmp"),
        lambda folder: rewritten_with_its_time(folder / "0.bmp"),
        lambda folder: rewritten_with_its_time(folder / "m0.bmp"),
        swap_folders,
    ],
    ids=["two images swapped", "an image rewritten", "a mask rewritten", "the folder replaced"],
)
def test_data_of_the_same_lengths_and_times_is_other_data(change: Callable[[Path], None], tmp_path: Path) -> None:
    data = some_data(tmp_path / "data")
    for path in (tmp_path / "data").iterdir():  # all of one time, as an archive or `cp -p` leaves them
        os.utime(path, ns=(10**18, 10**18))
    before = digest(data, tmp_path / "census")
    assert digest(data, tmp_path / "census") == before
    change(tmp_path / "data")
    assert digest(data, tmp_path / "census") != before


def test_a_copy_with_other_times_is_the_same_data(tmp_path: Path) -> None:
    before = digest(some_data(tmp_path / "data"), tmp_path / "census")
    assert digest(some_data(tmp_path / "copy"), tmp_path / "census") == before


def test_pairs_that_were_digested_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = some_data(tmp_path / "data")
    before = digest(data, tmp_path / "census")

    def opened(path: Path, mode: str = "r") -> Any:
        assert tmp_path / "data" not in path.parents, f"{path} was read again"
        return original(path, mode)

    original = Path.open
    monkeypatch.setattr(Path, "open", opened)
    assert digest(data, tmp_path / "census") == before
