"""Finished items are copied elsewhere as they are made, and the copy ends as a set like the one that was made."""

import shutil
from pathlib import Path

import fsspec
import pytest
from tiny_run import call, content, distil

from d3s2.base.errors import UsageError
from d3s2.store.publishing import Destination


def test_a_folder_gets_a_copy_and_what_is_missing_later(tmp_path: Path) -> None:
    words = ("--publish", str(tmp_path / "copy"))
    assert distil(tmp_path / "run", *words) == 0
    assert content(tmp_path / "copy") == content(tmp_path / "run")
    assert call("verify", str(tmp_path / "copy")) == 0
    assert call("verify", str(tmp_path / "copy" / "unguided")) == 0
    lost = next((tmp_path / "copy" / "images").iterdir())
    lost.unlink()
    assert call("join", str(tmp_path / "run"), *words) == 0
    assert lost.exists()
    assert distil(tmp_path / "run", "--publish", f"memory://{tmp_path.name}") == 0
    memory = fsspec.filesystem("memory")
    shutil.rmtree(tmp_path / "copy")
    memory.get(f"/{tmp_path.name}/", f"{tmp_path}/copy/", recursive=True)
    assert content(tmp_path / "copy") == content(tmp_path / "run")


def test_an_address_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="give a folder or a URL that fsspec knows"):
        Destination("nowhere://x")
