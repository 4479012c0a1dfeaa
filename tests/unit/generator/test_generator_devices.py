"""Each generator samples on its device, and nothing in a step is read back or comes from the CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, Watched
from tiny_networks import CLASS_NAMES
from tiny_stable_diffusion import write_pipeline
from tiny_text_to_image import write_flux, write_sd3, write_sdxl
from torch import Tensor, nn

from d3s2.base.config import build
from d3s2.data.label_space import LabelSpace
from d3s2.generator.denoiser import Denoiser, Level
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.samplers import ddim
from d3s2.generator.schedules import levels_of
from d3s2.synthesis.guidance import Refusals, guide
from d3s2.synthesis.settings import GuidanceSettings

SPACE = LabelSpace("street", CLASS_NAMES)
SIZE = (32, 48)
SCALE = 2.0
WRITERS: dict[str, Callable[[Path], Path]] = {
    "stable-diffusion": write_pipeline,
    "sdxl": write_sdxl,
    "sd3": write_sd3,
    "flux": write_flux,
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "controlnet": ("stable-diffusion", {"controlnet": "controlnet"}),
    "freestyle": ("stable-diffusion", {}),
    "freestyle by area": ("stable-diffusion", {"cells": "area"}),
    "sdxl": ("sdxl", {"controlnet": "controlnet"}),
    "sdxl with the union ControlNet": ("sdxl", {"controlnet": "union_controlnet", "control_mode": 5}),
    "sd3": ("sd3", {"controlnet": "controlnet"}),
    "sd3 without T5": ("sd3", {"controlnet": "zero_pooled_controlnet", "t5": False}),
    "flux": ("flux", {"controlnet": "controlnet"}),
    "flux with a union ControlNet": ("flux", {"controlnet": "union_controlnet", "control_mode": 2}),
}
"""Name of a test -> folder, and what is set beside it; the name begins with the kind."""
PLAIN = ("controlnet", "freestyle", "sdxl", "sd3", "flux")

pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def generator_of(name: str, folders: dict[str, Path], dtype: str = "float32") -> LayoutToImage:
    place, others = KINDS[name]
    kind = name.partition(" ")[0]
    folder = folders[place]
    values: dict[str, Any] = {"model": str(folder), "tiny_decoder": str(folder / "tiny_decoder"), **others}
    values["compute"] = {"dtype": dtype, "channels_last": dtype == "bfloat16"}
    if "controlnet" in values:
        values |= {"controlnet": str(folder / values["controlnet"]), "palette": "ade20k"}
    loader = GENERATORS.load(kind)
    return loader.load(build(loader.settings, values, "generator"), SPACE, ELSEWHERE)


def masks() -> Tensor:
    """On the host, where prompts are made: which classes a mask holds is read once a batch."""
    drawn = torch.zeros(2, *SIZE, dtype=torch.uint8)
    drawn[0, 16:], drawn[1, :, 20:], drawn[1, 8:, 20:] = 1, 2, 255
    return drawn


def encoders_of(generator: Any) -> list[nn.Module]:
    if hasattr(generator, "parts"):
        return [generator.parts.text_encoder]
    return [network for part, network in generator.family.networks.items() if part.startswith("text")]


def guided_by(rule: str, generator: LayoutToImage) -> Callable[[Denoiser], Denoiser]:
    def energy(clean: Tensor, level: Level) -> Tensor:
        return generator.decode(clean, for_guidance=True).float().square().mean(dim=(1, 2, 3))

    how = GuidanceSettings(strength=0.5, rule=rule)  # type: ignore[arg-type]
    return partial(guide, energy=energy, how=how, refusals=Refusals(("a", "b")))


@pytest.mark.parametrize(
    ("name", "rule", "dtype"),
    [*((name, "full", "float32") for name in KINDS), *((name, "fast", "bfloat16") for name in PLAIN)],
)
def test_no_step_reads_back_or_fetches_anything(name: str, rule: str, dtype: str, folders: dict[str, Path]) -> None:
    generator = generator_of(name, folders, dtype)
    shape = generator.latent_shape(SIZE)
    levels = levels_of(generator.scheduler, 3, shape[1:])  # the first is noisier than the window of guidance
    denoiser = guided_by(rule, generator)(generator.bind(masks(), SCALE))
    with torch.no_grad(), Watched() as watched:
        latents = ddim(denoiser, torch.zeros(2, *shape, device=ELSEWHERE), levels)
        images = generator.decode(latents)
    assert images.device == ELSEWHERE
    assert images.shape == (2, 3, *SIZE)
    assert images.dtype == torch.float32
    assert not watched.moved
    assert not watched.stayed


@pytest.mark.parametrize("name", ["controlnet", "sdxl", "sd3", "flux"])
def test_text_encoders_lie_in_main_memory_and_read_each_list_of_prompts_once(
    name: str, folders: dict[str, Path]
) -> None:
    generator = generator_of(name, folders)
    asked: list[torch.device] = []
    for encoder in encoders_of(generator):
        encoder.register_forward_hook(lambda layer, inputs, output: asked.append(output[0].device))
    for _ in range(2):
        generator.bind(masks(), SCALE)
    assert asked == [ELSEWHERE] * 2 * len(encoders_of(generator))  # prompts, negative prompt
    weights = [weight for encoder in encoders_of(generator) for weight in encoder.state_dict().values()]
    assert {weight.device.type for weight in weights} == {"cpu"}
    generator.bind(masks().flip(0), SCALE)
    assert len(asked) == 3 * len(encoders_of(generator))
