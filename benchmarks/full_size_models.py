"""Stable Diffusion 1.5 with its ControlNet, autoencoders and text encoder: the published shapes, random weights.

`width` is the number of channels at the finest grid: 320 as published (1.2 billion weights with the ControlNet), or
fewer for a small machine; the autoencoders have their published size unless they are asked to be small. The
vocabulary of the text encoder is short, which changes no time.
"""

import string
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from d3s2.data.label_space import LabelSpace
from d3s2.generator.autoencoders import Decoders
from d3s2.generator.stable_diffusion.parts import StableDiffusion

FULL_WIDTH, NARROW_WIDTH, TINY_WIDTH = 320, 64, 32
MAX_TOKENS = 77
HEADS = 8
TEXT_CHANNELS = 768


def label_space(num_classes: int) -> LabelSpace:
    """Classes that the tokenizer below knows how to spell."""
    return LabelSpace("benchmark", tuple(f"class {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(num_classes)))


def blocks(shape: tuple[int, int, int], num_classes: int) -> torch.Tensor:
    """Masks that are a chessboard of 8 x 8 fields, the classes one after another."""
    _, height, width = shape
    rows, columns = torch.arange(height) * 8 // height, torch.arange(width) * 8 // width
    return ((rows[:, None] * 8 + columns) % num_classes).to(torch.uint8).expand(shape).contiguous()


def new_unet(width: int) -> UNet2DConditionModel:
    """The diffusion network of Stable Diffusion 1.x."""
    return UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        attention_head_dim=HEADS,
        cross_attention_dim=TEXT_CHANNELS,
    )


def new_vae(*, small: bool = False) -> AutoencoderKL:
    """Its autoencoder; a small one where decoding is not what is measured."""
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32) if small else (128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1 if small else 2,
        sample_size=512,
        latent_channels=4,
    )


def new_tokenizer() -> CLIPTokenizer:
    """One that spells the names in `label_space`."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase), ",</w>"]
    merges = ["c l", "a s", "cl as", "clas s</w>"]
    known = [*letters, *(merge.replace(" ", "") for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(known)}
    pairs = [tuple(merge.split()) for merge in merges]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=MAX_TOKENS)


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's, as Stable Diffusion 1.x has it."""
    end = len(tokenizer) - 1
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_CHANNELS,
        intermediate_size=4 * TEXT_CHANNELS,
        num_attention_heads=12,
        bos_token_id=end - 1,
        eos_token_id=end,
        pad_token_id=end,
    )
    return CLIPTextModel(config)


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise levels."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def new_parts(width: int, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """The parts in memory, with a small autoencoder."""
    tokenizer = new_tokenizer()
    networks = [new_unet(width), new_text_encoder(tokenizer)]
    unet, text_encoder = (network.to(device, dtype).eval() for network in networks)
    decoders = Decoders(new_vae(small=True).to(device).eval(), None)
    return StableDiffusion(unet, decoders, text_encoder, tokenizer, new_scheduler())


def write_models(folder: Path, width: int, *, small_vae: bool = False) -> None:
    """The parts as users have them, folders of safetensors (float16); with `controlnet` and `tiny_decoder`."""
    torch.manual_seed(0)
    tokenizer = new_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    new_scheduler().save_pretrained(folder / "scheduler")
    new_text_encoder(tokenizer).half().save_pretrained(folder / "text_encoder")
    new_vae(small=small_vae).half().save_pretrained(folder / "vae")
    AutoencoderTiny().half().save_pretrained(folder / "tiny_decoder")
    unet = new_unet(width)
    ControlNetModel.from_unet(unet).half().save_pretrained(folder / "controlnet")
    unet.half().save_pretrained(folder / "unet")


def pipeline_parts(parts: StableDiffusion) -> dict[str, Any]:
    """What every pipeline of diffusers is made of."""
    return {
        "unet": parts.unet,
        "vae": parts.decoders.vae,
        "text_encoder": deepcopy(parts.text_encoder).to(parts.device),  # a pipeline works where its parts are
        "tokenizer": parts.tokenizer,
        "scheduler": DDIMScheduler.from_config(parts.scheduler.config),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
