"""Our sampling without guidance against the pipelines of diffusers: same parts, noise, prompts and conditions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    ControlNetUnionModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxControlNetModel,
    FluxControlNetPipeline,
    FluxTransformer2DModel,
    SD3ControlNetModel,
    SD3Transformer2DModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tiny_text_to_image import write_flux, write_sd3, write_sdxl
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from d3s2.base.config import build
from d3s2.data.label_space import LabelSpace
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.samplers import ddim, initial_noise
from d3s2.generator.schedules import levels_of
from d3s2.generator.text_to_image.flux import packed, unpacked
from d3s2.generator.text_to_image.generator import TextToImageGenerator

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
SIZE_PX = (32, 48)
STEPS = 4
PROMPTS = ["a photo of sky, road", "a photo of sky, tree"]
SCALES = [1.0, 4.0]

pytestmark = pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sd3(tmp_path_factory.mktemp("sd3"))


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flux(tmp_path_factory.mktemp("flux"))


def loaded(kind: str, folder: Path, controlnet: str, **others: Any) -> TextToImageGenerator:
    values = {"model": str(folder), "controlnet": str(folder / controlnet), "palette": "ade20k", **others}
    loader = GENERATORS.load(kind)
    return loader.load(build(loader.settings, values, "generator"), SPACE, torch.device("cpu"))


def two_masks() -> Tensor:
    masks = torch.zeros(2, *SIZE_PX, dtype=torch.uint8)
    masks[0, 16:], masks[1, :, 20:], masks[1, 8:, 20:] = 1, 2, 255
    return masks


def ours(generator: TextToImageGenerator, scale: float) -> tuple[Tensor, Tensor]:
    """Noise and what sampling makes of it."""
    shape = generator.latent_shape(SIZE_PX)
    noise = initial_noise([torch.Generator().manual_seed(seed) for seed in (1, 2)], shape)
    with torch.no_grad():
        denoiser = generator.bind(two_masks(), scale)
        return noise, ddim(denoiser, noise, levels_of(generator.scheduler, STEPS, shape[1:]))


def pictures(generator: TextToImageGenerator) -> list[Image.Image]:
    """The conditions as users of diffusers give them."""
    drawn = generator.condition(two_masks()).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(picture) for picture in drawn]


def part(kind: Any, folder: Path, name: str) -> Any:
    return kind.from_pretrained(folder, subfolder=name)


def texts(folder: Path, **kinds: Any) -> dict[str, Any]:
    """Encoders and tokenizers of a pipeline, by the number of each: '', '_2', '_3'."""
    found = {}
    for number, kind in kinds.items():
        end = number.removeprefix("first")
        tokenizer = T5Tokenizer if kind is T5EncoderModel else CLIPTokenizer
        found[f"text_encoder{end}"] = part(kind, folder, f"text_encoder{end}")
        found[f"tokenizer{end}"] = part(tokenizer, folder, f"tokenizer{end}")
    return found


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("negative", ["", "lamp"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("union", [False, True])
def test_sdxl_equals_the_pipelines_of_diffusers(sdxl: Path, union: bool, scale: float, negative: str) -> None:
    name = "union_controlnet" if union else "controlnet"
    mode = {"control_mode": 5} if union else {}
    generator = loaded("sdxl", sdxl, name, negative_prompt=negative, **mode)
    noise, found = ours(generator, scale)
    own = DDIMScheduler.from_pretrained(sdxl, subfolder="scheduler")
    kind: Any = StableDiffusionXLControlNetUnionPipeline if union else StableDiffusionXLControlNetPipeline
    pipeline = quiet(
        kind(
            vae=part(AutoencoderKL, sdxl, "vae"),
            unet=part(UNet2DConditionModel, sdxl, "unet"),
            controlnet=part(ControlNetUnionModel if union else ControlNetModel, sdxl, name),
            scheduler=DDIMScheduler.from_config(own.config, clip_sample=False),
            add_watermarker=False,
            **texts(sdxl, first=CLIPTextModel, first_2=CLIPTextModelWithProjection),
        )
    )
    condition: Any = generator.condition(two_masks())
    given = {"control_image": [condition], "control_mode": [5]} if union else {"image": condition}
    call = {"num_inference_steps": STEPS, "guidance_scale": scale, "latents": noise.clone(), **given}
    expected = pipeline(
        PROMPTS, negative_prompt=[negative] * 2 if negative else None, output_type="latent", **call
    ).images
    assert generator.prompts(two_masks()) == PROMPTS
    assert_same(found, expected)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("controlnet", ["controlnet", "zero_pooled_controlnet", "own_controlnet"])
@pytest.mark.parametrize("t5", [True, False])
def test_sd3_equals_the_pipeline_of_diffusers(sd3: Path, controlnet: str, scale: float, t5: bool) -> None:
    generator = loaded("sd3", sd3, controlnet, negative_prompt="lamp", t5=t5)
    noise, found = ours(generator, scale)
    clips = {"first": CLIPTextModelWithProjection, "first_2": CLIPTextModelWithProjection}
    third = texts(sd3, first_3=T5EncoderModel) if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = quiet(
        StableDiffusion3ControlNetPipeline(
            vae=part(AutoencoderKL, sd3, "vae"),
            transformer=part(SD3Transformer2DModel, sd3, "transformer"),
            controlnet=part(SD3ControlNetModel, sd3, controlnet),
            scheduler=part(FlowMatchEulerDiscreteScheduler, sd3, "scheduler"),
            **texts(sd3, **clips),
            **third,
        )
    )
    height, width = SIZE_PX
    expected = pipeline(
        PROMPTS,
        control_image=pictures(generator),
        negative_prompt=["lamp", "lamp"],
        height=height,
        width=width,
        sigmas=np.linspace(1, 0, STEPS + 1)[:-1].tolist(),
        num_inference_steps=STEPS,
        guidance_scale=scale,
        controlnet_pooled_projections=None,
        latents=noise.clone(),
        output_type="latent",
    ).images
    assert_same(found, expected)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("union", [False, True])
def test_flux_equals_the_pipeline_of_diffusers(flux: Path, union: bool, scale: float) -> None:
    name = "union_controlnet" if union else "controlnet"
    mode = {"control_mode": 2} if union else {}
    generator = loaded("flux", flux, name, negative_prompt="lamp", distilled_guidance=2.5, **mode)
    noise, found = ours(generator, scale)
    pipeline = quiet(
        FluxControlNetPipeline(
            vae=part(AutoencoderKL, flux, "vae"),
            transformer=part(FluxTransformer2DModel, flux, "transformer"),
            controlnet=part(FluxControlNetModel, flux, name),
            scheduler=part(FlowMatchEulerDiscreteScheduler, flux, "scheduler"),
            **texts(flux, first=CLIPTextModel, first_2=T5EncoderModel),
        )
    )
    height, width = SIZE_PX
    expected = pipeline(
        PROMPTS,
        control_image=pictures(generator),
        negative_prompt=["lamp", "lamp"],
        true_cfg_scale=scale,
        guidance_scale=2.5,
        height=height,
        width=width,
        num_inference_steps=STEPS,
        latents=packed(noise),
        output_type="latent",
        **mode,
    ).images
    assert_same(found, unpacked(expected, (noise.shape[2], noise.shape[3])))
