"""Four commands from a folder that nobody has seen to a page."""

from pathlib import Path

import pytest
from tiny_run import call
from unknown_data import colour_masks

from d3s2.store.exporting import export
from d3s2.store.reader import DistilledSet

FAST = (
    "teacher.train={iterations: 2, batch: 2, width: 8}",
    "generator.fit={steps: 2, batch: 2, channels: [32, 32]}",
    "synthesize.steps=2",
    "synthesize.measure_cost=false",
    "evaluate.train={iterations: 2, batch: 2, width: 8}",
    "evaluate.seeds=1",
    "evaluate.workers=1",
    "evaluate.sets=[random, distilled]",
)
"""What makes the run that was written take seconds."""


def test_four_commands_lead_from_unknown_data_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    colour_masks(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert call("init", "data", "--out", "mine", "--device", "cpu") == 0
    assert call("doctor", "--dataset", "mine/dataset.yaml") == 0
    assert "[x] train: 8 pairs, 8 read" in capsys.readouterr().out
    assert call("evaluate", "mine/run.yaml", *FAST, "--dry-run", "--device", "cpu") == 0
    assert "masks by class-balanced" in capsys.readouterr().out
    assert call("evaluate", "mine/run.yaml", *FAST, "--out", "runs/mine", "--device", "cpu") == 0
    assert (tmp_path / "runs/mine/report.html").is_file()
    assert DistilledSet(tmp_path / "runs/mine").space.names[0] == "colour_000000"
    assert (export(tmp_path / "runs/mine", tmp_path / "out", "mmseg") / "dataset.py").is_file()
