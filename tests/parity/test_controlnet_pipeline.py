"""Our sampling without guidance against StableDiffusionControlNetPipeline: same parts, noise, prompt and condition."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from tiny_stable_diffusion import write_pipeline
from transformers import CLIPTextModel, CLIPTokenizer

from d3s2.base.config import build
from d3s2.data.label_space import LabelSpace
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.samplers import SAMPLERS, initial_noise
from d3s2.generator.sampling import Sampling, sample
from d3s2.generator.schedules import levels_of
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator

# diffusers' DPM-Solver hands a tensor to numpy in a way that numpy 2 dislikes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
SIZE_PX = (32, 40)
STEPS = 6
SCHEDULERS: dict[str, Any] = {"ddim": DDIMScheduler, "dpm-solver": DPMSolverMultistepScheduler}
SAMPLER_OF = {"ddim": "ddim", "dpm-solver": "dpm-solver-2m"}


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"), request.param)


def loaded(folder: Path, schedule: str) -> ControlNetGenerator:
    values = {"model": str(folder), "controlnet": str(folder / "controlnet"), "palette": "ade20k"}
    values |= {"negative_prompt": "lamp", "schedule": schedule}
    loader = GENERATORS.load("controlnet")
    return loader.load(build(loader.settings, values, "generator"), SPACE, torch.device("cpu"))


def theirs(folder: Path, schedule: str) -> StableDiffusionControlNetPipeline:
    own = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    pipeline = StableDiffusionControlNetPipeline(
        vae=AutoencoderKL.from_pretrained(folder, subfolder="vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder, subfolder="text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder, subfolder="unet"),
        controlnet=ControlNetModel.from_pretrained(folder, subfolder="controlnet"),
        scheduler=SCHEDULERS[schedule].from_config(own.config, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("schedule", ["ddim", "dpm-solver"])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_latents_equal_the_pipeline_of_diffusers(folder: Path, schedule: str, guidance_scale: float) -> None:
    generator = loaded(folder, schedule)
    masks = torch.zeros(2, *SIZE_PX, dtype=torch.uint8)
    masks[0, 16:], masks[1, :, 20:], masks[1, 8:, 20:] = 1, 2, 255
    noise = initial_noise([torch.Generator().manual_seed(seed) for seed in (1, 2)], generator.latent_shape(SIZE_PX))
    with torch.no_grad():
        found = SAMPLERS[SAMPLER_OF[schedule]](
            generator.bind(masks, guidance_scale), noise, levels_of(generator.scheduler, STEPS)
        )
    pipeline = theirs(folder, schedule)
    call = {"num_inference_steps": STEPS, "guidance_scale": guidance_scale, "latents": noise.clone()}
    prompts = ["a photo of sky, road", "a photo of sky, tree"]
    condition = generator.condition(masks)
    expected = pipeline(prompts, condition, negative_prompt=["lamp", "lamp"], output_type="latent", **call).images
    assert generator.prompts(masks) == prompts
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    images = pipeline(prompts, condition, negative_prompt=["lamp", "lamp"], output_type="pt", **call).images
    torch.testing.assert_close(generator.decode(found).clamp(0, 1), images, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_sampling_from_images_equals_the_image_to_image_pipeline(folder: Path, guidance_scale: float) -> None:
    generator, whole = loaded(folder, "ddim"), theirs(folder, "ddim")
    masks = torch.zeros(1, *SIZE_PX, dtype=torch.uint8)
    masks[0, 16:] = 1
    images = torch.rand(1, 3, *SIZE_PX, generator=torch.Generator().manual_seed(5))
    pipeline = StableDiffusionControlNetImg2ImgPipeline(**whole.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    # They noise the image to the level of the step that strength leaves first, the third of six here.
    first = levels_of(generator.scheduler, STEPS)[2].noise_share
    expected = pipeline(
        generator.prompts(masks),
        image=generator.encode(images),  # what has four channels is taken as latents
        control_image=generator.condition(masks),
        strength=4 / STEPS,
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        controlnet_conditioning_scale=1.0,
        negative_prompt=["lamp"],
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images
    sampling = Sampling("ddim", STEPS, guidance_scale, start=first)
    noises = [torch.Generator().manual_seed(3)]
    found = sample(generator, masks, noises, sampling, device=torch.device("cpu"), images=images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_condition_and_prompt_change_the_latents(folder: Path) -> None:
    generator = loaded(folder, "ddim")
    masks = torch.zeros(3, *SIZE_PX, dtype=torch.uint8)
    masks[1, 16:], masks[2, :16] = 1, 1  # the second and third have one prompt and another condition
    noise = initial_noise([torch.Generator().manual_seed(1)] * 1, generator.latent_shape(SIZE_PX)).expand(3, -1, -1, -1)
    x = generator.bind(masks, 1.0)(noise, levels_of(generator.scheduler, STEPS)[0])
    assert (x[1] - x[2]).abs().max() > 1e-3
    assert (x[0] - x[1]).abs().max() > 1e-3
