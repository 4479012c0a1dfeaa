"""The counted work of published networks is that of their shapes, without weights."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from torch.utils.flop_counter import FlopCounterMode

from d3s2.generator.counted import DECODER_TFLOP, TINY_DECODER_TFLOP, Counted
from d3s2.generator.stable_diffusion import controlnet_kind, freestyle
from d3s2.generator.text_to_image import flux, sd3, sdxl
from d3s2.model_cards import cards_for
from d3s2.nets.architectures import ARCHITECTURES
from d3s2.planning.flops import GPUS, image_s, seconds_on, teacher_tflop
from d3s2.recipes import load_run

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import generator_costs


def counted_tflop(forward: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    return counter.get_total_flops() / 1e12


@pytest.mark.parametrize("name", ["segformer-b0", "upernet-convnext-t", "linear-dinov3-vit-s"])
def test_architectures_are_counted_on_their_shapes(name: str) -> None:
    with torch.device("meta"):
        net = ARCHITECTURES.load(name).new(150, 16, 0).eval()
        found = counted_tflop(lambda: net(torch.zeros(1, 3, 512, 512)).scores)
    assert found == pytest.approx(ARCHITECTURES.load(name).tflop, abs=6e-4)


def test_eomt_is_counted_on_its_shape() -> None:
    with torch.device("meta"):
        net = ARCHITECTURES.load("eomt-dinov3-s").new(150, 16, 0).eval()
    net.network.attn_mask_probs = torch.ones(3)  # it asks for their values
    found = counted_tflop(lambda: net.network(torch.zeros(1, 3, 512, 512, device="meta")))
    assert found == pytest.approx(ARCHITECTURES.load("eomt-dinov3-s").tflop, abs=6e-4)


@pytest.mark.parametrize(("size", "num_windows"), [((512, 512), 1), ((256, 512), 2), ((500, 1300), 3)])
def test_a_judge_of_one_size_is_counted_by_the_squares_that_it_sees(size: tuple[int, int], num_windows: int) -> None:
    judge = "tue-mps/ade20k_semantic_eomt_large_512"
    config = load_run("ade20k", [f"teacher.source={judge}", f"data.size={list(size)}"])
    assert teacher_tflop(config) == pytest.approx(num_windows * cards_for("segmentation")[judge].tflop)


@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")
@pytest.mark.parametrize(
    ("model", "step"),
    [
        ("Stable Diffusion 1.4", freestyle.COUNTED.step),
        ("Stable Diffusion 1.5", controlnet_kind.COUNTED.step),
        ("SDXL, ControlNet", sdxl.COUNTED.step),
        ("Stable Diffusion 3 medium", sd3.MEDIUM.step),
        ("FLUX.1-dev", flux.COUNTED.step),
    ],
)
def test_families_are_counted_on_their_shapes(model: str, step: Counted) -> None:
    (make,) = (make for name, make in generator_costs.MODELS.items() if name.startswith(model))
    with torch.device("meta"):
        family = make()
    assert step.at((768, 768)) == pytest.approx(generator_costs.operations(family, 768), rel=1e-3)


def test_decoders_are_counted_on_their_shapes() -> None:
    with torch.device("meta"):
        for network, counted in ((generator_costs.new_vae(16), DECODER_TFLOP), (AutoencoderTiny(), TINY_DECODER_TFLOP)):
            found = generator_costs.decode_tflop(network, network.config.latent_channels, 768)
            assert counted.at((768, 768)) == pytest.approx(found, rel=1e-3)


def test_every_student_but_the_measured_one_and_known_networks_are_counted() -> None:
    counted = {name for name in ARCHITECTURES if ARCHITECTURES.load(name).tflop is not None}
    assert counted == {*ARCHITECTURES} - {"compact-unet"}
    assert all(card.tflop is not None for card in cards_for("segmentation").values() if "backbone" not in card.part)


def test_the_share_for_segmentation_gives_the_step_that_it_comes_from() -> None:
    v100 = next(gpu for gpu in GPUS if gpu.name == "V100")
    step_tflop = 3 * 16 * ARCHITECTURES.load("mask2former-swin-s").tflop
    assert seconds_on(v100, "segmentation", step_tflop) / 8 == pytest.approx(0.41, abs=0.01)


def test_full_guidance_and_more_candidates_cost_more() -> None:
    def cost(*overrides: str) -> float:
        seconds = image_s(load_run("ade20k", overrides), GPUS[0])
        assert seconds is not None
        return seconds

    plain = cost()
    assert cost("synthesize.guidance.rule=full") > plain
    assert plain < cost("synthesize.candidates=2") < 2 * plain
    assert cost("synthesize.unguided_too=false") < plain
    traces = [cost(f"synthesize.trace_every={every}") for every in (1, 5, 0)]
    assert traces == sorted(traces, reverse=True)
    assert cost("synthesize.guidance.every=1") > cost("synthesize.guidance.every=2")
    judge = "teacher.source=facebook/mask2former-swin-small-ade-semantic"
    quarter = cost(judge, "data.size=[256, 256]")
    assert 0.9 * cost(judge) / 4 < quarter < cost(judge) / 4  # attention grows with the square of the pixels
    assert image_s(load_run("ade20k", ["teacher.source=some/folder"]), GPUS[0]) is None
