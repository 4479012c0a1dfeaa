"""A run knows its networks by their weights: one whose files were exchanged is not the same run."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_run import TINY, call, content

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its own networks."""
    folder = tmp_path_factory.mktemp("made") / "run"
    assert call("distill", "scenes", *TINY, "--out", str(folder), "--device", "cpu") == 0
    return folder


def exchange(folder: Path) -> None:
    """Another network of the same shape in place of the one in `folder`."""
    weights = load_file(folder / WEIGHTS)
    save_file({name: tensor * 1.5 for name, tensor in weights.items()}, folder / WEIGHTS)


def distill(source: Path, out: Path) -> int:
    words = (*TINY, f"teacher.source={source}", "--out", str(out), "--device", "cpu")
    return call("distill", "scenes", *words)


def test_a_teacher_that_was_exchanged_on_the_way_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "run"
    shutil.copytree(made / "models" / "teacher", teacher)
    assert distill(teacher, out) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["models"]["teacher"] == {
        "source": str(teacher),
        "commit": None,
        "weights_sha256": manifest["models"]["bank"]["teacher"],
    }
    before = content(out)
    exchange(teacher)
    assert distill(teacher, out) == 1
    said = capsys.readouterr().err
    assert f"{out}: holds a distilled set of a different call (other teacher); choose another --out, or repeat" in said
    plan = json.dumps({key: manifest[key] for key in ("digest", "format", "format_version", "plan")})
    for folder in (out, out / "unguided"):  # as a run that was stopped on its way left them
        (folder / ".d3s2-unfinished" / "items").mkdir(parents=True)
        digest = json.loads((folder / "manifest.json").read_text())["digest"]
        unfinished = json.loads(plan) | {"digest": digest}
        (folder / ".d3s2-unfinished" / "plan.json").write_text(json.dumps(unfinished))
        (folder / "manifest.json").unlink()
    assert distill(teacher, out) == 1
    assert "(other teacher)" in capsys.readouterr().err
    assert content(out) == before


@pytest.mark.parametrize("network", ["teacher", "generator"])
def test_a_network_that_was_fitted_here_and_exchanged_is_named(
    network: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(made, out)
    exchange(out / "models" / network)
    assert call("distill", "scenes", *TINY, "--out", str(out), "--device", "cpu") == 1
    assert f"models/{network}/{WEIGHTS}: is not the file that was fitted here, or is gone" in capsys.readouterr().err
