"""`d3s2 fit` with `generator.fit.autoencoder`: a compact generator on latents, used by the run that made it."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_run import TINY, call
from tiny_stable_diffusion import write_pipeline

from d3s2.store.verification import verify


def test_a_generator_on_latents_is_fitted_and_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base = write_pipeline(tmp_path / "base")
    where = [f"generator.fit.autoencoder={base}", "generator.fit.autoencoder_subfolder=vae"]
    tiny = f"generator.tiny_decoder={shutil.copytree(base / 'tiny_decoder', tmp_path / 'tiny')}"
    words = ["scenes", *TINY, *where, tiny, "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert call("fit", *words, "--dry-run") == 0
    assert f"M weights, on latents of {base}" in capfd.readouterr().out
    assert call("fit", *words) == 0
    folder = tmp_path / "run" / "models" / "generator"
    record = json.loads((folder / "fitted.json").read_text())
    assert record["settings"]["fit"]["pack"] == 1
    assert len(record["autoencoder_sha256"]) == 64
    assert (folder / "previews" / "step-000002.png").exists()
    shutil.rmtree(base)  # the fitted folder holds all that is needed
    assert call("distill", *words) == 0
    assert verify(tmp_path / "run").sound
    weights = json.loads((tmp_path / "run" / "manifest.json").read_text())["models"]["generator"]["weights_sha256"]
    assert len(weights) == 3
