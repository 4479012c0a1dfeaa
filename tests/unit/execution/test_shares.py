"""Processes with shares of one folder: each piece is done once, by its owner or later by another."""

from functools import partial
from pathlib import Path

import pytest

from d3s2.base.errors import StoreError
from d3s2.base.formats.locks import LOCKS, claimed, locked, shared
from d3s2.execution.pieces import Piece, Work
from d3s2.execution.settings import Share
from d3s2.execution.shares import ELSEWHERE, Shares


def touch(folder: Path, name: str) -> str:
    (folder / name).touch(exist_ok=False)
    return name


def work_in(folder: Path) -> Work[str, str]:
    return Work("touch", lambda where: partial(touch, where), folder, is_done=lambda name: (folder / name).exists())


PIECES = [Piece(name, name) for name in "abcdefg"]


def test_a_process_begins_with_its_own_share_and_takes_the_rest_late(tmp_path: Path) -> None:
    outcomes = list(Shares(Share(2, 3), tmp_path).run(work_in(tmp_path), PIECES))
    assert [outcome.piece for outcome in outcomes] == ["b", "e", "f", "c", "g", "d", "a"]
    assert all(outcome.result == outcome.piece for outcome in outcomes)
    assert not list((tmp_path / LOCKS).iterdir())


def test_what_others_have_done_is_told_and_what_they_hold_is_left_to_them(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    found = []
    with claimed(tmp_path, "touch-c") as ours:
        assert ours
        for outcome in Shares(Share(1, 2), tmp_path).run(work_in(tmp_path), PIECES):
            found.append(outcome)
            if len(found) == len(PIECES) - 1:  # all but the one that is held: its holder ends with it
                (tmp_path / "c").touch()
    elsewhere = {outcome.piece for outcome in found if outcome.worker == ELSEWHERE}
    assert elsewhere == {"a", "c"}
    assert {outcome.piece for outcome in found} == set("abcdefg")


def test_shares_stand_beside_each_other_and_never_beside_a_whole_run(tmp_path: Path) -> None:
    with shared(tmp_path, "1-of-2"), shared(tmp_path, "2-of-2"):
        with pytest.raises(StoreError, match="another d3s2 process is at work"), shared(tmp_path, "1-of-2"):
            pass
        with pytest.raises(StoreError, match="another d3s2 process is at work"), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCKS).exists()
