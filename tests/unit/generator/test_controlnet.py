import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from tiny_stable_diffusion import new_controlnet, new_unet, write_pipeline

from d3s2.base.config import build
from d3s2.base.errors import ConfigError, ModelError, UsageError
from d3s2.data.label_space import LabelSpace
from d3s2.generator.denoiser import Level
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.predictions import clean_of
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator

SPACE = LabelSpace(name="street", names=("sky", "road", "tree"))
CPU = torch.device("cpu")
MASKS = torch.randint(0, 3, (2, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LEVEL = Level(alpha=0.6, sigma=0.8, time=500.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


def load(folder: Path, space: LabelSpace = SPACE, **values: Any) -> ControlNetGenerator:
    settings = {"model": str(folder), "controlnet": str(folder / "controlnet"), "palette": "ade20k", "offline": True}
    loader = GENERATORS.load("controlnet")
    return loader.load(build(loader.settings, {**settings, **values}, "generator"), space, CPU)


def clean(generator: LayoutToImage, masks: torch.Tensor = MASKS) -> torch.Tensor:
    shape = generator.latent_shape((masks.shape[1], masks.shape[2]))
    x = torch.randn(len(masks), *shape, generator=torch.Generator().manual_seed(1))
    return generator.bind(masks, 2.0)(x, LEVEL)


def copy_without(folder: Path, target: Path, *parts: str) -> Path:
    return Path(shutil.copytree(folder, target / "copy", ignore=shutil.ignore_patterns(*parts)))


@pytest.mark.parametrize("option", ["channels_last", "attention_slicing", "gradient_checkpointing"])
def test_options_of_computing_change_no_number(folder: Path, option: str) -> None:
    expected = clean(load(folder))
    torch.testing.assert_close(clean(load(folder, compute={option: True})), expected, rtol=1e-4, atol=1e-5)


def test_sliced_decoding_changes_no_number_and_tiled_decoding_no_size(folder: Path) -> None:
    latents = torch.randn(2, 4, 4, 9)
    expected = load(folder).decode(latents)
    torch.testing.assert_close(load(folder, compute={"vae_slicing": True}).decode(latents), expected)
    assert load(folder, compute={"vae_tiling": True}).decode(latents).shape == expected.shape


def test_loading_is_silent(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(folder)
    assert capfd.readouterr() == ("", "")


def test_bfloat16_network_takes_and_gives_float32(folder: Path) -> None:
    generator = load(folder, compute={"dtype": "bfloat16"})
    found = clean(generator)
    assert found.dtype == torch.float32
    assert (found - clean(load(folder))).abs().max() < 0.2
    assert generator.decode(found).dtype == torch.float32


def test_gradient_reaches_the_noisy_latent_and_no_weight(folder: Path) -> None:
    generator = load(folder, compute={"gradient_checkpointing": True})
    x = torch.randn(1, *generator.latent_shape((32, 40))).requires_grad_()
    generator.decode(generator.bind(MASKS[:1], 3.0)(x, LEVEL), for_guidance=True).square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().max() > 0
    assert not any(weight.requires_grad for weight in generator.parts.unet.parameters())


def test_tiny_decoder_serves_guidance_only(folder: Path) -> None:
    with_tiny, without = load(folder, tiny_decoder=str(folder / "tiny_decoder")), load(folder)
    latents = torch.randn(1, 4, 4, 5)
    assert torch.equal(with_tiny.decode(latents), without.decode(latents))
    assert torch.equal(without.decode(latents, for_guidance=True), without.decode(latents))
    tiny = with_tiny.decode(latents, for_guidance=True)
    assert tiny.shape == (1, 3, 32, 40)
    assert not torch.equal(tiny, without.decode(latents))


def test_each_image_depends_on_no_other_of_its_batch(folder: Path) -> None:
    generator = load(folder)
    torch.testing.assert_close(clean(generator)[:1], clean(generator, MASKS[:1]), rtol=1e-4, atol=1e-5)


def test_any_size_that_the_autoencoder_divides_works(folder: Path) -> None:
    generator = load(folder)
    for size in ((8, 8), (24, 56), (40, 104)):
        masks = torch.zeros(1, *size, dtype=torch.uint8)
        assert generator.decode(clean(generator, masks)).shape == (1, 3, *size)


def test_other_sizes_name_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"sizes that divide by 8, got 30 x 3 px .*; set data\.size to \[32, 8\]"):
        load(folder).latent_shape((30, 3))


def test_known_checkpoints_bring_their_palette_and_others_must_name_it(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"generator\.palette is not set, .*ade20k, .*or to label-space"):
        load(folder, palette=None)
    with pytest.raises(ModelError, match=r"licence OpenRAIL, about 1\.4 GiB: run `hf download lllyasviel/control_v11p"):
        load(folder, palette=None, controlnet="lllyasviel/control_v11p_sd15_seg")


def test_missing_models_say_how_to_get_them(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"unet is not on this machine; .*Stable Diffusion 1\.5, licence CreativeML"):
        load(folder, model="stable-diffusion-v1-5/stable-diffusion-v1-5")
    with pytest.raises(ModelError, match=r"no/such: unet is neither in a folder of that name nor in the local cache"):
        load(folder, model="no/such")
    with pytest.raises(ModelError, match=r"AutoencoderTiny is not on this machine; .*licence MIT, about 0\.02 GiB"):
        load(folder, tiny_decoder="madebyollin/taesd")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_missing_part_is_named(folder: Path, tmp_path: Path, part: str) -> None:
    with pytest.raises(ModelError, match=part):
        load(copy_without(folder, tmp_path, part))


def test_pickled_weights_are_refused_unless_asked_for(folder: Path, tmp_path: Path) -> None:
    copy = copy_without(folder, tmp_path, "vae")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    vae.save_pretrained(copy / "vae", safe_serialization=False)
    with pytest.raises(ModelError, match=r"vae/diffusion_pytorch_model\.bin: these weights are pickled"):
        load(copy)
    latents = torch.randn(1, 4, 4, 5)
    assert torch.equal(load(copy, pickled=True).decode(latents), load(folder).decode(latents))


def test_parts_of_different_models_are_refused(folder: Path, tmp_path: Path) -> None:
    new_controlnet(new_unet(text_channels=16)).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ModelError, match=r"this ControlNet reads text of 16 channels, .* writes 32"):
        load(folder, controlnet=str(tmp_path / "narrow"))
    ControlNetModel.from_unet(new_unet(), conditioning_embedding_out_channels=(4, 8)).save_pretrained(tmp_path / "four")
    with pytest.raises(ModelError, match="packs 2 x 2 px into a cell"):
        load(folder, controlnet=str(tmp_path / "four"))
    copy = copy_without(folder, tmp_path, "unet")
    new_unet(channels=9).save_pretrained(copy / "unet")
    with pytest.raises(ModelError, match="takes 9 channels, a latent has 4; use a text-to-image model"):
        load(copy)


def test_sdxl_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = copy_without(folder, tmp_path, "unet")
    shape = dict(UNet2DConditionModel.load_config(folder / "unet"))
    shape |= {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 80,
    }
    UNet2DConditionModel.from_config(shape).save_pretrained(copy / "unet")
    with pytest.raises(ModelError, match=r"is of the SDXL family; use Stable Diffusion 1\.x or 2\.x"):
        load(copy)


def test_a_tiny_decoder_of_another_family_is_refused(folder: Path, tmp_path: Path) -> None:
    shape = dict(AutoencoderTiny.load_config(folder / "tiny_decoder"))
    AutoencoderTiny.from_config(shape | {"latent_channels": 16}).save_pretrained(tmp_path / "taesd3")
    with pytest.raises(ModelError, match=r"taesd3: decodes latents of 16 channels, those of .* have 4; take the tiny "):
        load(folder, tiny_decoder=str(tmp_path / "taesd3"))


def test_template_without_a_place_for_classes_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"Key 'template': expected {classes} in the template"):
        load(folder, template="a photo")


def test_rarity_of_another_length_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"generator\.rarity has 2 numbers for 3 classes of street"):
        load(folder, rarity=(1.0, 2.0))


def test_long_prompt_stays_within_the_text_encoder(folder: Path) -> None:
    names = tuple(f"thing number {number}" for number in range(30))
    space = LabelSpace(name="many", names=names)
    generator = load(folder, space, palette="label-space")
    mask = torch.arange(30, dtype=torch.uint8).repeat_interleave(4).reshape(1, 8, 15)
    (prompt,) = generator.prompts(mask)
    assert prompt.startswith("a photo of thing number 0, ")
    assert generator.parts.count_tokens(prompt) <= 77 < generator.parts.count_tokens(prompt + ", thing number 29")


def test_noise_cannot_be_predicted_where_no_signal_is_left() -> None:
    x = torch.ones(1, 1, 1, 1)
    with pytest.raises(ModelError, match="prediction_type 'epsilon' cannot be sampled from a level with signal 0"):
        clean_of(x, x, Level(0.0, 1.0, 999.0), "epsilon")
    assert clean_of(x, x, Level(0.0, 1.0, 999.0), "v_prediction") == -1
    assert clean_of(x * 3, x, LEVEL, "sample") == 3


def test_record_names_settings_and_every_weight(folder: Path) -> None:
    record = load(folder).as_record()
    assert sorted(record["weights_sha256"]) == ["controlnet", "text_encoder", "unet", "vae"]
    assert record["settings"]["palette"] == "ade20k"
    assert record == load(folder).as_record()
