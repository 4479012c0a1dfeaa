"""Two moments of what `make faults` tries by the hundred: a run that is killed has the bytes of an undisturbed one."""

import os
import signal
import sys
from pathlib import Path
from random import Random

import pytest
from interrupted import RECIPE, WORKED_STEPS, Scene, differences, ended, kill_worker, undisturbed
from tiny_run import call


@pytest.mark.skipif(sys.platform != "linux", reason="a process group is killed as Linux does")
@pytest.mark.slow
def test_a_run_that_is_killed_twice_is_resumed_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, folder = undisturbed(tmp_path / "whole", "distill"), tmp_path / "run"
    with ended(scene := Scene(folder, "one process", Random(2), whole)):
        for share in (0.3, 0.8):  # models are fitted; items are made
            process = scene.begin("distill", *RECIPE)
            scene.wait_for_moment(process, share)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            capsys.readouterr()
            assert call("verify", str(folder)) == 1
            assert str(folder) in capsys.readouterr().err
    undisturbed(folder, "distill")
    assert differences(folder, whole) == []
    assert not list(folder.rglob("*.part"))
    assert call("verify", str(folder)) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up as Linux has them")
@pytest.mark.slow
def test_ray_loses_an_actor_in_every_step_and_nothing_else(tmp_path: Path) -> None:
    whole, killed = undisturbed(tmp_path / "whole"), set[int]()
    with ended(scene := Scene(tmp_path / "run", "ray", Random(1), whole)):
        process = scene.begin_line()
        for step in (*WORKED_STEPS, "judges"):
            killed |= kill_worker(scene, process, step, killed)
        assert process.wait(400) == 0, scene.said(0).read_text()
    assert len(killed) >= 3  # the last step may have ended before
    assert "Traceback" not in scene.said(0).read_text()
    assert differences(scene.folder, whole) == []
