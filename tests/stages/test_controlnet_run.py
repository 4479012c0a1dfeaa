"""ADE20K with a ControlNet from a run file alone: names, repeated colours, and prompts that keep the rarest classes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_run import TINY, call
from tiny_stable_diffusion import write_pipeline

from d3s2.base.config import build, read_yaml, with_overrides
from d3s2.data.known.ade20k import NAMES, SPACE
from d3s2.generator.stable_diffusion.controlnet import load_controlnet
from d3s2.generator.stable_diffusion.settings import ControlNetSettings
from d3s2.recipes import FOLDER
from d3s2.store.verification import verify

SIZE = (32, 48)
CROWDED, RARE = 40, NAMES.index("flag")


def write_ade20k(root: Path) -> None:
    """Six pairs for training and two for validation; every mask holds the first 40 classes, only one holds a flag."""
    rng = np.random.default_rng(0)
    for folder, count in (("training", 6), ("validation", 2)):
        for index in range(count):
            mask = rng.permutation(np.arange(SIZE[0] * SIZE[1]) % CROWDED).reshape(SIZE) + 1
            if (folder, index) == ("training", 3):
                mask[:4] = RARE + 1
            for kind, suffix, array in (
                ("images", "jpg", rng.integers(0, 255, (*SIZE, 3))),
                ("annotations", "png", mask),
            ):
                path = root / kind / folder / f"ADE_{folder}_{index:08d}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture
def values(tmp_path: Path) -> dict:
    """A run file's content: ADE20K, a ControlNet in its colours, a fitted teacher."""
    write_ade20k(tmp_path / "ade20k")
    base = write_pipeline(tmp_path / "base")
    made = with_overrides(read_yaml(FOLDER / "scenes.yaml"), [*TINY, "select.ratio=null", "select.num_masks=2"])
    made["data"] = {"dataset": "ade20k", "root": str(tmp_path / "ade20k"), "test": "val", "size": list(SIZE)}
    settings = {"model": str(base), "controlnet": str(base / "controlnet"), "palette": "ade20k", "offline": True}
    made["generator"] = {"kind": "controlnet", **settings}
    return made


def distil_values(tmp_path: Path, values: dict) -> int:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return call("distill", str(path), "--out", str(tmp_path / "run"), "--device", "cpu")


def test_repeated_colours_are_refused_with_the_key_that_accepts_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, values: dict
) -> None:
    assert distil_values(tmp_path, values) == 1
    said = capsys.readouterr().err
    assert "Palette 'ade20k' gives classes 'road' and 'skyscraper' of ADE20K one colour (140, 140, 140)" in said
    assert "set generator.shared_colours to true to accept that" in said


def test_the_run_file_alone_makes_the_set_and_prompts_keep_the_rarest(tmp_path: Path, values: dict) -> None:
    values["generator"]["shared_colours"] = True
    assert distil_values(tmp_path, values) == 0
    assert verify(tmp_path / "run").sound
    settings = json.loads((tmp_path / "run/manifest.json").read_text())["models"]["generator"]["settings"]
    assert settings["rarity"] == [6] * CROWDED + [0] * (RARE - CROWDED) + [1] + [0] * (len(NAMES) - RARE - 1)
    generator = load_controlnet(build(ControlNetSettings, settings, "settings"), SPACE, torch.device("cpu"))
    mask = np.arange(SIZE[0] * SIZE[1], dtype=np.uint8).reshape(SIZE) % CROWDED
    mask[:20] = RARE  # by its pixels the flag would be the first to go
    (prompt,) = generator.prompts(torch.from_numpy(mask)[None])
    assert prompt.endswith(", flag")
    assert generator.parts.count_tokens(prompt) <= generator.parts.max_tokens
    assert len(prompt.split(", ")) < CROWDED


def test_a_rarity_that_is_given_is_not_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, values: dict
) -> None:
    values["generator"] |= {"shared_colours": True, "rarity": [1, 2]}
    assert distil_values(tmp_path, values) == 1
    assert "generator.rarity has 2 numbers for 150 classes of ADE20K; give one each." in capsys.readouterr().err
