import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from tiny_stable_diffusion import new_unet, original_names, write_pipeline
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from d3s2.base.config import build
from d3s2.base.errors import ModelError
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.ade20k import SPACE as ADE20K
from d3s2.data.label_space import LabelSpace
from d3s2.generator.denoiser import Level
from d3s2.generator.kinds import GENERATORS
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.samplers import ddim
from d3s2.generator.schedules import levels_of
from d3s2.generator.stable_diffusion.freestyle import FreestyleGenerator
from d3s2.generator.stable_diffusion.rectified_attention import EVERYONE, NO_ONE

SPACE = LabelSpace(name="street", names=("sky", "road", "old_tree", "lamp"))
CPU = torch.device("cpu")
LEVEL = Level(alpha=0.6, sigma=0.8, time=500.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


def load(folder: Path, space: LabelSpace = SPACE, **values: Any) -> FreestyleGenerator:
    loader = GENERATORS.load("freestyle")
    settings = build(loader.settings, {"model": str(folder), "offline": True, **values}, "generator")
    return loader.load(settings, space, CPU)


def masks_of(height: int = 32, width: int = 40) -> Tensor:
    masks = torch.zeros(2, height, width, dtype=torch.uint8)
    masks[0, height // 2 :], masks[1, :, width // 2 :], masks[1, -3:] = 1, 2, IGNORE
    return masks


def clean(generator: LayoutToImage, masks: Tensor, guidance_scale: float = 2.0) -> Tensor:
    shape = generator.latent_shape((masks.shape[1], masks.shape[2]))
    x = torch.randn(len(masks), *shape, generator=torch.Generator().manual_seed(1))
    return generator.bind(masks, guidance_scale)(x, LEVEL)


def test_tokens_are_those_of_the_joined_prompt(folder: Path) -> None:
    generator = load(folder)
    mask = torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8)
    chunks = generator.chunks_of(mask)
    joined = generator.parts.tokenizer("sky road old tree lamp", padding="max_length", max_length=77)
    assert chunks.tokens.tolist() == [joined.input_ids]


def test_every_token_of_a_class_is_its_own(folder: Path) -> None:
    generator = load(folder)
    mask = torch.tensor([[0, 3], [2, IGNORE]], dtype=torch.uint8)
    owners = generator.chunks_of(mask).owners[0].tolist()
    spans = [len(generator.class_tokens[train]) for train in (0, 2, 3)]
    assert spans == [1, 4, 1]  # o, l, d and tree
    assert owners[:8] == [EVERYONE, 0, 2, 2, 2, 2, 3, EVERYONE]
    assert set(owners[8:]) == {EVERYONE}


def test_long_prompt_goes_in_chunks_without_splitting_a_class(folder: Path) -> None:
    space = LabelSpace(name="many", names=tuple(f"thing {chr(97 + number)}" for number in range(26)))
    generator = load(folder, space)
    mask = torch.arange(26, dtype=torch.uint8).reshape(2, 13)
    chunks = generator.chunks_of(mask)
    assert chunks.tokens.shape == (3, 77)
    where = [set((chunks.owners == train).any(dim=1).nonzero().flatten().tolist()) for train in range(26)]
    assert all(len(rows) == 1 for rows in where)
    assert [sorted(rows)[0] for rows in where] == sorted(sorted(rows)[0] for rows in where)


def test_batch_of_long_and_short_prompts_equals_each_alone(folder: Path) -> None:
    space = LabelSpace(name="many", names=tuple(f"thing {chr(97 + number)}" for number in range(26)))
    generator = load(folder, space)
    masks = torch.zeros(2, 16, 16, dtype=torch.uint8)
    masks[0] = (torch.arange(256) % 26).reshape(16, 16).to(torch.uint8)
    text, owners = generator.text_of(masks)
    assert text.shape[1] == 3 * 77
    assert (owners[1] == NO_ONE).sum() == 2 * 77
    together = clean(generator, masks)
    torch.testing.assert_close(together[:1], clean(generator, masks[:1]), rtol=1e-4, atol=1e-5)


def test_mask_of_one_class_equals_the_pipeline_of_diffusers(folder: Path) -> None:
    generator = load(folder, negative_prompt="lamp")
    masks = torch.full((1, 24, 40), 2, dtype=torch.uint8)
    noise = torch.randn(1, *generator.latent_shape((24, 40)), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = ddim(generator.bind(masks, 4.0), noise, levels_of(generator.scheduler, 5))
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler", clip_sample=False)
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder, subfolder="vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder, subfolder="text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(folder, subfolder="unet"),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "old tree",
        height=24,
        width=40,
        negative_prompt="lamp",
        num_inference_steps=5,
        guidance_scale=4.0,
        latents=noise.clone(),
        output_type="latent",
    ).images
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (24, 56), (40, 104), (72, 8)])
def test_any_size_that_the_autoencoder_divides_works(folder: Path, size: tuple[int, int]) -> None:
    generator = load(folder)
    found = clean(generator, masks_of(*size))
    assert generator.decode(found).shape == (2, 3, *size)
    assert found.isfinite().all()


def test_gradient_is_finite_through_rectified_attention(folder: Path) -> None:
    generator = load(folder, compute={"gradient_checkpointing": True})
    x = torch.randn(2, *generator.latent_shape((32, 40))).requires_grad_()
    generator.bind(masks_of(), 2.0)(x, LEVEL).square().mean().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


def test_sliced_attention_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="rectified attention runs on fused attention and cannot be sliced"):
        load(folder, compute={"attention_slicing": True})


def test_class_name_that_no_text_encoder_reads_is_refused(folder: Path) -> None:
    space = LabelSpace(name="x", names=("sky", "w" * 80))
    with pytest.raises(ModelError, match=r"Class 'w+\.\.\.' takes 80 tokens, the text encoder reads 75 at once"):
        load(folder, space)


def original(folder: Path, averaged: bool = False) -> tuple[UNet2DConditionModel, dict[str, Tensor]]:
    """Other weights than the folder's, under the names of the original Stable Diffusion code."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        unet = new_unet()
    named = {f"model.diffusion_model.{name}": weight for name, weight in original_names(unet.state_dict()).items()}
    if averaged:
        flat = {"model_ema." + "".join(name.split(".")[1:]): weight for name, weight in named.items()}
        named = {**{name: torch.zeros_like(weight) for name, weight in named.items()}, **flat}
    text = CLIPTextModel.from_pretrained(folder / "text_encoder").state_dict()
    prefix = "cond_stage_model.transformer.text_model."
    return unet, {**named, **{prefix + name.removeprefix("text_model."): weight + 1 for name, weight in text.items()}}


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_original_checkpoint_takes_the_place_of_the_weights(
    folder: Path, tmp_path: Path, averaged: bool, suffix: str
) -> None:
    unet, state = original(folder, averaged)
    path = tmp_path / f"freestyle{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file({name: weight.contiguous().clone() for name, weight in state.items()}, path)
    parts = load(folder, checkpoint=str(path)).parts
    for name, weight in unet.state_dict().items():
        assert torch.equal(parts.unet.state_dict()[name], weight), name
    plain = load(folder).parts.text_encoder.state_dict()
    assert all(torch.equal(weight, plain[name] + 1) for name, weight in parts.text_encoder.state_dict().items())


def test_checkpoint_that_needs_code_to_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "freestyle.ckpt"
    torch.save({"state_dict": original(folder)[1], "settings": argparse.Namespace(a=1)}, path)
    with pytest.raises(ModelError, match=r"freestyle\.ckpt: holds more than weights, .*run code from the file"):
        load(folder, checkpoint=str(path))


def test_checkpoint_that_is_missing_or_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.ckpt: there is no such checkpoint"):
        load(folder, checkpoint=str(tmp_path / "none.ckpt"))
    save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="these weights do not fit the model that they should go into"):
        load(folder, checkpoint=str(tmp_path / "other.safetensors"))


def said(generator: FreestyleGenerator, space: LabelSpace, name: str) -> str:
    return generator.parts.tokenizer.decode(generator.class_tokens[space.names.index(name)]).replace(" ", "")


def test_classes_of_ade20k_are_said_in_freestylenets_words(folder: Path) -> None:
    generator = load(folder, ADE20K, words={"sky": "evening sky"})
    assert [said(generator, ADE20K, name) for name in ("windowpane", "wall", "sky")] == ["window", "wall", "eveningsky"]
    assert generator.as_record()["word_list"] == "ade20k"
    plain = load(folder, ADE20K, word_list="names")
    assert said(plain, ADE20K, "windowpane") == "windowpane"
    assert "word_list" not in plain.as_record()
    assert "word_list" not in load(folder).as_record()


def test_word_list_that_lacks_a_class_is_refused(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"word_list: 'ade20k' has no words for class 'old_tree' of street \(1 of 4 are"
    ):
        load(folder, word_list="ade20k")
    assert load(folder, word_list="ade20k", words={"old_tree": "tree"}).word_list == "ade20k"


def test_area_shows_what_lies_between_the_nearest_pixels(folder: Path) -> None:
    thin, thick = masks_of(), masks_of()
    for masks, rows in ((thin, (3,)), (thick, (3, 5, 6))):
        for row in rows:
            masks[:, row::8] = 3  # never a row that nearest samples
    for cells, moved in (("nearest", False), ("area", True)):
        generator = load(folder, cells=cells)
        assert bool((clean(generator, thin) - clean(generator, thick)).abs().max() > 1e-4) == moved


def test_area_equals_nearest_where_every_cell_is_of_one_class(folder: Path) -> None:
    masks = torch.zeros(2, 32, 48, dtype=torch.uint8)
    masks[0, :, 16:], masks[1, 16:] = 1, 2  # borders on those of the coarsest grid
    found, expected = (clean(load(folder, cells=cells), masks, 2.0) for cells in ("area", "nearest"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
