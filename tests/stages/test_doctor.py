"""What `d3s2 doctor` says on a machine without network and models, by its text."""

import json
import re
from pathlib import Path

import huggingface_hub
import pytest
from tiny_run import call

from d3s2.generator import GENERATORS
from d3s2.model_cards import MODEL_CARDS, cards_for
from d3s2.recipes import load_run, recipe_names


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache, and no way to the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_everything_that_is_missing_is_named_with_licence_size_and_the_way_to_get_it(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert call("doctor", "--models") == 0
    said = capsys.readouterr().out
    generators, networks = said.split(f"Segmentation networks in {cache}\n")
    assert f"Parts of generators in {cache}\n" in generators
    for text, cards in ((generators, cards_for("generator")), (networks, cards_for("segmentation"))):
        for card in cards.values():
            line = f"  [ ] {card.model_id}: {card.part}; licence {card.licence}; {card.download_gib:g} GiB"
            assert re.search(rf"{re.escape(line)}(; [0-9.]+ GiB of a card, [0-9]+ ms a step)?\n      ", text)
            assert f"      {card.how_to_get}\n" in text
    assert "copy the folder here, and give its path instead of the id." in networks


def test_the_models_alone(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor", "--models") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Parts of generators in {cache}\n")
    assert (
        "tue-mps/ade20k_semantic_eomt_large_512: EoMT-L on DINOv2, ADE20K; licence MIT; 1.18 GiB; 4.1 GiB of a card, "
        in said
    )
    assert "Machine" not in said


def test_one_network_in_full(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor", "--models") == 0
    assert (
        "  [ ] openmmlab/upernet-swin-tiny: UPerNet Swin-T, ADE20K; licence MIT; 0.22 GiB; 1.4 GiB of a card, 133 ms a "
        "step\n"
        "      hf download openmmlab/upernet-swin-tiny --include '*.json' --include '*.safetensors' "
        "--local-dir upernet-swin-tiny\n"
    ) in capsys.readouterr().out


def test_what_is_there_is_marked_and_not_explained(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    for model_id in ("nvidia/mit-b0", "madebyollin/taesd"):
        stored = cache / f"models--{model_id.replace('/', '--')}"
        for path, text in {"refs/main": "abc", "snapshots/abc/config.json": "{}"}.items():
            (stored / path).parent.mkdir(parents=True)
            (stored / path).write_text(text, encoding="utf-8")
    assert call("doctor", "--models") == 0
    said = capsys.readouterr().out
    assert "  [x] nvidia/mit-b0: " in said
    assert "  [x] madebyollin/taesd: " in said
    assert "hf download nvidia/mit-b0" not in said
    assert "hf download madebyollin/taesd --include" not in said


def table_of_recipes() -> dict[str, str]:
    """Recipe -> what docs/evaluation.md says that it takes."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \|.*\| ([^|]+) \|$", page.partition("## The grid")[0], flags=re.MULTILINE)
    return {name: takes for names, takes in rows for name in re.findall(r"`([^`]+)`", names)}


def test_every_recipe_is_told_with_licence_size_hours_and_memory(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    assert call("doctor", "--models") == 0
    said, told = capsys.readouterr().out.partition("\nRecipes, evaluated on one A100\n")[2], table_of_recipes()
    assert set(told) == set(recipe_names())
    for name, takes in told.items():
        if takes == "-":
            assert f"  {name}: compact networks; `d3s2 evaluate {name} --dry-run` tries them out here\n" in said
            continue
        assert f"  {name}: {takes} of a card, " in said
        block = said.partition(f"  {name}: ")[2].splitlines()[1:]
        config = load_run(name)
        for source in config.generator.named_sources:
            card = MODEL_CARDS[source]
            assert f"      {source}: licence {card.licence}; {card.download_gib:g} GiB" in block


def test_a_generator_takes_what_the_page_of_generators_says(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    takes = {model["model_id"]: model["takes"] for model in found["models"]}
    record = sorted((Path(__file__).resolve().parents[2] / "benchmarks").glob("generator-costs_*.json"))[-1]
    rows = {row["model"]: row for row in json.loads(record.read_text())["rows"]}
    for model_id, row in {
        "stabilityai/stable-diffusion-xl-base-1.0": "SDXL, ControlNet",
        "stabilityai/stable-diffusion-3.5-large": "Stable Diffusion 3.5 large, ControlNet of 6 blocks",
        "black-forest-labs/FLUX.1-dev": "FLUX.1-dev, Layout-ControlNet",
    }.items():
        assert takes[model_id]["gib"] == pytest.approx(rows[row]["fast_gib_512"], abs=0.1)
    assert takes["madebyollin/taesd"] is None
    counted = {model_id for name in GENERATORS for model_id in getattr(GENERATORS.load(name).counted, "models", ())}
    assert counted == {model_id for model_id, taken in takes.items() if taken is not None}  # no id is out of date


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [network["model_id"] for network in found["networks"]] == list(cards_for("segmentation"))
    assert [model["model_id"] for model in found["models"]] == list(cards_for("generator"))
    assert not any(network["found"] for network in found["networks"])


def test_the_machine_comes_without_models_that_are_not_there(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor") == 0
    said = capsys.readouterr().out
    num_known = len(cards_for("segmentation")) + len(cards_for("generator"))
    assert f"Published models in {cache}: 0 of {num_known}; `d3s2 doctor --models` lists all" in said
    assert said.startswith("Machine\n")
    assert "hf download" not in said
    assert "  scenes         " in said


def test_a_data_set_is_examined_alone(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert call("doctor", "--dataset", "ccp", "--root", str(cache)) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"Data set ccp in {cache}\n  [ ] train: 0 of 585 pairs")
    assert "Machine" not in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--root", "data"), "--root is the folder of a data set; name it by --dataset too"),
        (("--dataset", "scenes", "--models"), "--models and --dataset print one thing each"),
    ],
)
def test_options_that_would_be_left_out_are_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert call("doctor", *words) == 2
    assert sentence in capsys.readouterr().err
