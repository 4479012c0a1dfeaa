"""Memory in plans: what lives at once is counted, entries hold what was counted on the shapes, and a card agrees."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from d3s2.base.config import build
from d3s2.generator.counted import (
    AUTOENCODERS_MILLION,
    DECODER_GIB,
    DECODER_GRADIENT_GIB,
    DECODER_TFLOP,
    TINY_DECODER_TFLOP,
    TINY_GRADIENT_GIB,
    Counted,
)
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.stable_diffusion import controlnet_kind, freestyle
from d3s2.generator.text_to_image import flux, sd3, sdxl
from d3s2.model_cards import MODEL_CARDS
from d3s2.planning.living import GIB, peak_gib
from d3s2.planning.memory import RESERVED_GIB, largest_batches, sampling_gib, teacher_memory
from d3s2.recipes import load_run

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import generator_costs  # noqa: E402
import guidance  # noqa: E402

FAMILIES = {
    "Stable Diffusion 1.4, FreestyleNet": freestyle.COUNTED,
    "Stable Diffusion 1.5, ControlNet 1.1": controlnet_kind.COUNTED,
    "SDXL, ControlNet": sdxl.COUNTED,
    "Stable Diffusion 3 medium, ControlNet of 6 blocks": sd3.MEDIUM,
    "Stable Diffusion 3.5 large, ControlNet of 6 blocks": sd3.LARGE,
    "FLUX.1-dev, Layout-ControlNet": flux.COUNTED,
}
TEACHERS = {
    "facebook/mask2former-swin-small-ade-semantic": "mask2former-swin-s",
    "facebook/mask2former-swin-large-ade-semantic": "mask2former-swin-l",
    "facebook/maskformer-resnet50-coco-stuff": "maskformer-resnet-50",
    "tue-mps/ade20k_semantic_eomt_large_512": "eomt-l",
    "shi-labs/oneformer_ade20k_swin_large": "oneformer-swin-l",
    "nvidia/segformer-b4-finetuned-ade-512-512": "segformer-b4",
    "openmmlab/upernet-swin-small": "upernet-swin-s",
}


def latest(benchmark: str) -> dict[str, Any]:
    return json.loads(sorted(BENCHMARKS.glob(f"{benchmark}_*.json"))[-1].read_text())


def test_what_lives_at_once_is_counted_and_what_was_there_is_not() -> None:
    before, size = torch.zeros(1000), 4000 / GIB

    def chain() -> torch.Tensor:
        first = before + 1
        second = first * 2  # two live
        del first
        return (second + 1).view(10, 100).add_(before.view(10, 100))  # two again; a view is no more

    assert peak_gib(chain) == pytest.approx(2 * size)
    assert peak_gib(lambda: before.mul_(2).view(10, 100)) == 0


def numbers(counted: Counted) -> Any:
    return pytest.approx([*counted], abs=1e-4)


@pytest.mark.parametrize("row", latest("generator-costs")["rows"], ids=lambda row: row["model"])
def test_entries_hold_what_was_counted(row: dict[str, Any]) -> None:
    gib, tflop = row["counted_gib"], row["counted"]
    if row["model"] in FAMILIES:
        family = FAMILIES[row["model"]]
        assert tflop["step"] == numbers(family.step)
        million = row["million_weights"]
        assert million["diffusion"] + million["controlnet"] == pytest.approx(family.million_weights, abs=0.11)
        assert gib["network"] == numbers(family.network)
        assert gib["network_gradient"] == numbers(family.gradient)
    assert row["million_weights"]["autoencoders"] == pytest.approx(AUTOENCODERS_MILLION, abs=0.3)
    assert tflop["decoder"] == pytest.approx([*DECODER_TFLOP], abs=2e-3)
    assert tflop["tiny_decoder"] == pytest.approx([*TINY_DECODER_TFLOP], abs=2e-3)
    assert gib["decoder"] == pytest.approx([*DECODER_GIB], abs=2e-3)
    assert gib["decoder_gradient"] == pytest.approx([*DECODER_GRADIENT_GIB], abs=2e-3)
    assert gib["tiny_decoder_gradient"] == pytest.approx([*TINY_GRADIENT_GIB], abs=2e-3)
    if "fit_held_gib_512" in row:
        assert controlnet_kind.FIT_HELD.at((512, 512)) == pytest.approx(row["fit_held_gib_512"], abs=1e-3)


def test_a_decode_is_counted_on_its_shape() -> None:
    with FakeTensorMode():
        tiny = generator_costs.AutoencoderTiny().eval().requires_grad_(False)
        found = generator_costs.decode_gib(tiny, 4, 768, gradient=True)
    assert TINY_GRADIENT_GIB.at((768, 768)) == pytest.approx(found, rel=1e-2)


def test_teachers_are_those_that_were_counted() -> None:
    rows = latest("teacher-memory")["rows"]
    for model_id, shape in TEACHERS.items():
        assert MODEL_CARDS[model_id].held_gib == rows[shape]["held_gib"]


def gib(*overrides: str) -> float:
    found = sampling_gib(load_run("ade20k", overrides), 150)
    assert found is not None
    return found


def test_what_a_run_asks_for_decides_how_much_it_takes() -> None:
    plain = gib()
    assert gib("synthesize.guidance.rule=full") > plain
    assert gib("synthesize.batch=8") > plain > gib("synthesize.batch=1")
    assert gib("generator.compute.dtype=float32") > plain
    assert gib("generator.tiny_decoder=null") > plain
    assert gib("synthesize.guidance.views={count: 2}") > plain
    whole = ("generator.compute.vae_slicing=false", "data.size=[64,64]", "teacher.size_px=64", "synthesize.batch=64")
    assert gib(*whole) >= gib("generator.compute.vae_slicing=true", *whole[1:])
    assert sampling_gib(load_run("ade20k", ["teacher.source=some/folder"]), 150) is None


@pytest.mark.parametrize("kind", ["freestyle", "sdxl", "sd3", "flux"])
def test_every_published_generator_says_what_it_takes(kind: str) -> None:
    entry = GENERATORS.load(kind)
    condition = {} if kind == "freestyle" else {"controlnet": "some/controlnet"}
    settings = build(entry.settings, {"model": "some/model", **condition}, "generator")
    small, large = (entry.counted.memory(settings, (size, size)) for size in (512, 1024))
    assert small.weights_gib == large.weights_gib > 1
    assert small.network_gib < small.network_gradient_gib < large.network_gradient_gib


def test_a_compact_teacher_is_counted_where_it_lies_and_where_it_will_be_fitted() -> None:
    shipped, fitted = (teacher_memory(load_run("scenes", words), 10) for words in ([], ["teacher.source=null"]))
    assert shipped is not None
    assert fitted is not None
    assert 0 < shipped.weights_gib < 0.1
    assert 0 < fitted.held_gib < 0.1


def test_larger_cards_take_larger_batches() -> None:
    told = largest_batches(load_run("ade20k"), 150)
    assert told is not None
    counts = [int(part.split()[0]) for part in told.partition(": ")[2].split(", ")]
    assert counts == sorted(counts)
    assert gib(f"synthesize.batch={counts[-1]}") <= 80 - RESERVED_GIB < gib(f"synthesize.batch={counts[-1] + 1}")


def test_a_card_took_little_more_than_is_counted() -> None:
    measured = json.loads((BENCHMARKS / "guidance-bfloat16_nvidia-h100_2026-11-27.json").read_text())
    plan = guidance.Plan(Path(), "cuda", measured["size_px"], measured["steps"], measured["dtype"])
    counted = guidance.counted_gib(plan, ["unguided", "fast"])
    assert [*counted] == ["fast"]
    assert counted["fast"] < measured["sides"]["fast"]["peak_gib"] < counted["fast"] + RESERVED_GIB
