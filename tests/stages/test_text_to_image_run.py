"""Whole runs with SDXL, Stable Diffusion 3 and FLUX from a run file alone, and what a plan says of published ones."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from tiny_run import TINY, call
from tiny_text_to_image import write_flux, write_sd3, write_sdxl

from d3s2.base.config import read_yaml, with_overrides
from d3s2.recipes import FOLDER
from d3s2.store.verification import verify

PUBLISHED = {
    "sdxl": ("stabilityai/stable-diffusion-xl-base-1.0", "xinsir/controlnet-union-sdxl-1.0"),
    "sd3": ("stabilityai/stable-diffusion-3-medium-diffusers", "any/controlnet"),
    "flux": ("black-forest-labs/FLUX.1-dev", "manycore-research/FLUX.1-Layout-ControlNet"),
}

pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")


def distil(tmp_path: Path, values: dict[str, Any], *words: str) -> int:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return call("distill", str(path), "--out", str(tmp_path / "run"), "--device", "cpu", *words)


@pytest.mark.parametrize(
    ("kind", "write", "rule"), [("sdxl", write_sdxl, "full"), ("sd3", write_sd3, "fast"), ("flux", write_flux, "full")]
)
def test_the_run_file_alone_makes_the_set(tmp_path: Path, kind: str, write: Any, rule: str) -> None:
    base = write(tmp_path / "base")
    rules = [f"synthesize.guidance.rule={rule}", "select.ratio=null", "select.num_masks=2"]
    values = with_overrides(read_yaml(FOLDER / "scenes.yaml"), [*TINY, *rules])
    values["generator"] = {
        "kind": kind,
        "model": str(base),
        "controlnet": str(base / "controlnet"),
        "tiny_decoder": str(base / "tiny_decoder"),
        "palette": "label-space",
        "offline": True,
    }
    assert distil(tmp_path, values) == 0
    assert verify(tmp_path / "run").sound
    model = json.loads((tmp_path / "run/manifest.json").read_text())["models"]["generator"]
    assert model["kind"] == kind
    assert set(model["settings"]["rarity"]) > {0.0}
    assert pq.read_table(tmp_path / "run/items.parquet").num_rows == 2


@pytest.mark.parametrize("kind", sorted(PUBLISHED))
def test_a_plan_counts_published_models(capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    model, controlnet = PUBLISHED[kind]
    values = read_yaml(FOLDER / "ade20k.yaml")
    values["generator"] = {"kind": kind, "model": model, "controlnet": controlnet, "palette": "ade20k"}
    assert distil(tmp_path, values, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"{kind}: {model.rpartition('/')[2]}, {controlnet.rpartition('/')[2]}" in said
    assert "GPU times are not measured: operations counted on the networks' shapes" in said
