"""A distilled set is of use to who has never heard of d3s2: transformers' own Trainer learns from an export."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import SegformerForSemanticSegmentation

from d3s2.data.known.scenes import Scenes
from d3s2.store.exporting import export
from d3s2.store.items import ItemFacts
from d3s2.store.manifest import PROVENANCE
from d3s2.store.writer import SetWriter

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "train_segformer.py"
SCENES = Scenes("train", 4, (64, 96))
WITHOUT = """
import importlib.abc, runpy, sys
class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        assert name.split(".")[0] != "d3s2", name
sys.meta_path.insert(0, Refused())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def distilled(folder: Path) -> Path:
    writer = SetWriter(folder, "digest", SCENES.space)
    for item_id in SCENES.ids:
        writer.write(item_id, SCENES.image(item_id), SCENES.mask(item_id), ItemFacts(item_id, 0))
    writer.finish({key: {} for key in PROVENANCE} | {"name": "tiny"})
    return folder


def test_transformers_trainer_learns_from_an_export(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    data = export(distilled(tmp_path / "set"), tmp_path / "exported", "hf")
    words = [str(data), "--test", str(data), "--steps", "3", "--batch", "2", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "'eval_miou': " in done.stdout
    model = SegformerForSemanticSegmentation.from_pretrained(tmp_path / "out")
    assert [*model.config.id2label.values()] == list(SCENES.space.names)
    assert json.loads((data / "id2label.json").read_text()) == {str(k): v for k, v in model.config.id2label.items()}
    assert all(bool(torch.isfinite(one).all()) for one in model.parameters())
