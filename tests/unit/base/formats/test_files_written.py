"""Files that d3s2 writes: complete or not at all, a sentence for a full disk, the user's umask."""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from d3s2.base.errors import StoreError
from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.formats.files import sweep_parts, write_bytes, writing, writing_files
from d3s2.base.formats.locks import locked
from d3s2.generator.compact.network import new_generator, save_generator

LARGE = {"a": torch.zeros(700_000)}
ROOM = 2 << 20


def by_safetensors(folder: Path) -> None:
    with writing(folder / "x.safetensors") as temporary:
        save_file(LARGE, temporary)


def by_torch(folder: Path) -> None:
    net = torch.nn.Linear(1000, 700)
    Checkpoint(folder / "x.pt", {"net": net}).save(1, 1.0)


def by_arrow(folder: Path) -> None:
    with writing(folder / "x.parquet") as temporary:
        table = pa.table({"a": np.random.default_rng(0).random(500_000)})
        pq.write_table(table, temporary, compression="none")


def by_bytes(folder: Path) -> None:
    write_bytes(folder / "x.bin", bytes(3 << 20))


def by_diffusers(folder: Path) -> None:
    save_generator(new_generator(0, num_classes=3, channels=(32, 32)), folder / "x")


WRITERS = [by_safetensors, by_torch, by_arrow, by_bytes, by_diffusers]


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes: the system's answer is that of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_cannot_grow_is_a_sentence_for_every_writer(write: object, tmp_path: Path) -> None:
    assert callable(write)
    room = 100_000 if write is by_diffusers else ROOM
    with (
        no_larger_than(room),
        pytest.raises(StoreError, match=r"/x.*: files may not grow so large here; raise the limit"),
    ):
        write(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_is_a_sentence_for_every_writer(write: object, small_disk: Path) -> None:
    assert callable(write)
    if write is by_diffusers:
        (small_disk / "filler").write_bytes(bytes(ROOM - 200_000))
    with pytest.raises(StoreError, match=r"/x.*: the disk is full; free some space and run the same call again"):
        write(small_disk)
    assert not [path for path in small_disk.rglob("x*") if path.is_file()]


def test_a_defect_in_the_block_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "x"):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_permissions_are_those_that_the_umask_leaves(tmp_path: Path) -> None:
    for mask in (0o077, 0o022, 0o002):
        before = os.umask(mask)
        try:
            folder = tmp_path / f"{mask:o}"
            for write in WRITERS:
                write(folder)
        finally:
            os.umask(before)
        written = [path for path in folder.rglob("*") if path.is_file()]
        assert len(written) == 7
        assert {path.stat().st_mode & 0o777 for path in written} == {0o666 & ~mask}


def test_the_last_file_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        order.append(target.name)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    with writing_files(tmp_path, last="config.json") as scratch:
        (scratch / "below").mkdir()
        for name in ("a.bin", "config.json", "z.bin", "below/b.bin"):
            (scratch / name).touch()
    assert order[-1] == "config.json"
    assert sorted(order) == ["a.bin", "b.bin", "config.json", "z.bin"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run = tmp_path / "run"
    users = [
        "notes.part",
        ".hidden.part",
        ".film.mp4.part",
        ".a.0123abcd.part",
        ".a.0123abcd.d3s2.part.txt",
        "images/1.png",
    ]
    ours = [
        ".items.parquet.0123abcd.d3s2.part",
        "images/.1.png.89abcdef.d3s2.part",
        "models/.w.0000ffff.d3s2.part/.tmpAb1",
    ]
    outside = tmp_path / "elsewhere" / ".x.0123abcd.d3s2.part"
    for path in (*(run / name for name in (*users, *ours)), outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (run / "link").symlink_to(outside.parent)
    with locked(run):
        left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != ".d3s2.lock"}
    assert left == {*users}
    assert outside.exists()


def test_what_another_process_is_writing_in_stays(tmp_path: Path) -> None:
    with locked(tmp_path), writing(tmp_path / "x") as temporary:
        with pytest.raises(StoreError, match="another d3s2 process is at work"), locked(tmp_path):
            pass
        assert temporary.exists()
    sweep_parts(tmp_path)
    assert (tmp_path / "x").exists()


def test_names_as_long_as_a_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 255, "ä" * 127):
        write_bytes(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"
    assert len(os.listdir(tmp_path)) == 2


def test_a_quota_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"your share of the disk \(quota\) is full"), writing(tmp_path / "x"):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
