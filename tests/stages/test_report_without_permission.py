"""`report` on a folder that this user may not enter or write ends in a sentence."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_text
from d3s2.pipeline.report import write_report
from d3s2.pipeline.run import open_run
from d3s2.recipes import load_run

NOBODY = 65534
CPU = torch.device("cpu")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write anywhere: what permissions do is seen as somebody else."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own temporary folders let nobody else in
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    open_run(load_run("scenes", []), path / "run", CPU)
    yield path / "run"
    (path / "run").chmod(0o755)
    shutil.rmtree(path)


def test_a_folder_that_may_not_be_entered_is_named(folder: Path) -> None:
    folder.chmod(0o444)
    with as_nobody(), pytest.raises(StoreError, match=r"run\.json: cannot be read \(Permission denied\); check the"):
        write_report(folder, CPU)


def test_a_folder_that_may_not_be_written_is_named(folder: Path) -> None:
    folder.chmod(0o555)
    with (
        as_nobody(),
        pytest.raises(StoreError, match=r"report\.html: cannot be written \(Permission denied\); check the"),
    ):
        write_text(folder / "report.html", "")
