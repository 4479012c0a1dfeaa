"""The project itself: what is exported, which commands there are, that recipes build, that importing does nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_run import call

import d3s2
from d3s2.base.config import build, read_yaml
from d3s2.pipeline.config import RunConfig
from d3s2.recipes import FOLDER, load_run, recipe_names

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "ablate",
    "census",
    "demo",
    "distill",
    "doctor",
    "evaluate",
    "export",
    "fit",
    "init",
    "join",
    "report",
    "select",
    "synthesize",
    "verify",
)


def test_the_public_names_are_these() -> None:
    assert sorted(d3s2.__all__) == ["RunConfig", "distill", "evaluate", "load_run", "select", "write_report"]
    assert all(hasattr(d3s2, name) for name in d3s2.__all__)
    packages = {path.stem for path in Path(d3s2.__file__).parent.iterdir()}  # importing one would take the name's place
    assert not packages & set(d3s2.__all__)


def test_the_command_line_offers_these_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in shown
    told = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(told) == len(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in told)  # none is cut off


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert call(command, "--help") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_and_its_command_names_it(name: str) -> None:
    config = load_run(name)
    assert config.name == name
    assert f"evaluate {name}" in (FOLDER / f"{name}.yaml").read_text()
    assert build(RunConfig, read_yaml(FOLDER / f"{name}.yaml"), name) == config


def test_a_dry_run_prints_the_plan_and_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("demo", "--dry-run", "--out", str(tmp_path / "run"), "--device", "cpu") == 0
    shown = capsys.readouterr().out
    assert "20 masks by class-balanced" in shown
    assert "24 students" in shown
    assert "disk: about" in shown
    assert not (tmp_path / "run").exists()


def test_importing_touches_no_device_and_no_random_state() -> None:
    code = (
        "import torch; before = torch.get_rng_state(); import d3s2.cli; "
        "assert torch.equal(before, torch.get_rng_state()); assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_readme_shows_commands_that_exist() -> None:
    blocks = (ROOT / "README.md").read_text().split("```")[1::2]
    lines = [line for block in blocks for line in block.splitlines()]
    shown = [line.split()[1] for line in lines if line.startswith("d3s2 ")]
    assert shown
    assert set(shown) <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text()
    for line in lines:
        if line.startswith("make "):
            assert f"\n{line.split()[1]}:" in makefile


def test_the_readme_links_to_files_that_are_there() -> None:
    import re

    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
