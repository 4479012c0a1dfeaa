"""What rectified attention and our sampling cost against plain attention and against the pipelines of diffusers.

    python benchmarks/attention.py --out benchmarks/attention_DATE.json
    python benchmarks/attention.py --device cuda --dtype float16 --full --out benchmarks/attention_gpu_DATE.json

Three ratios of the same work in the same process, the sides taking turns, median over the rounds of each pair:
`attention`, one cross attention layer of Stable Diffusion over a grid of 64 x 64 cells with 50 classes, rectified
against diffusers' own processor on the same tokens; `controlnet` and `freestyle`, unguided sampling against
StableDiffusionControlNetPipeline and StableDiffusionPipeline, without decoding. Weights are random. By default the
networks are a fifth as wide as Stable Diffusion's and images have 256 x 256 px, for two cores; --full takes its own
width and 512 px.
"""

import argparse
import json
import statistics
import string
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from d3s2.base.files import write_json
from d3s2.base.runtime import commit, hardware, pick_device, versions
from d3s2.data.label_space import LabelSpace
from d3s2.generator.controlnet import ControlNetGenerator, ControlNetSettings
from d3s2.generator.freestyle import FreestyleGenerator, FreestyleSettings
from d3s2.generator.generator import Generator
from d3s2.generator.palettes import OWN_PALETTE, colour_condition, colour_table
from d3s2.generator.parts import DTYPES
from d3s2.generator.rectified_attention import RectifiedAttention, filled_up, rectification_of
from d3s2.generator.samplers import ddim
from d3s2.generator.schedules import levels_of
from d3s2.generator.stable_diffusion import StableDiffusion

NUM_CLASSES = 50
LATENT_SIDE = 64
MAX_TOKENS = 77
TOKENS_PER_CLASS = 2
HEADS = 8
GUIDANCE_SCALE = 5.0
FULL_WIDTH, NARROW_WIDTH = 320, 64
SPACE = LabelSpace("benchmark", tuple(f"class {chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(NUM_CLASSES)))


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device, dtype = pick_device(args.device), DTYPES[args.dtype]
    torch.manual_seed(0)
    with torch.no_grad():
        result = {
            "benchmark": "attention",
            "hardware": hardware(),
            "device": str(device),
            "dtype": args.dtype,
            "threads": torch.get_num_threads(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "command": " ".join(["python", *sys.argv]),
            "versions": versions(),
            "attention": attention(device, dtype, args.rounds),
            **sampling(device, dtype, args),
        }
    if args.out:
        write_json(args.out, result)
    print(json.dumps(result))


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="Stable Diffusion's own width, 512 x 512 px")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(words)


def turns(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, device: torch.device) -> dict[str, Any]:
    """Both sides in turns; the order changes every round, so that neither always runs on a warmer machine.

    On the CPU it counts processor seconds, which other processes of the machine do not change.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        pair = [("ours", ours), ("theirs", theirs)]
        for name, side in pair if number % 2 else pair[::-1]:
            start = clock()
            side()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                taken[name].append(clock() - start)
    ratios = [a / b for a, b in zip(taken["ours"], taken["theirs"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "ratio_of_fastest": min(taken["ours"]) / min(taken["theirs"]),
        "ours_s": statistics.median(taken["ours"]),
        "theirs_s": statistics.median(taken["theirs"]),
        "rounds": rounds,
    }


def attention(device: torch.device, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """One layer: 64 x 64 cells, 50 classes of two tokens in two chunks, a batch of one under guidance."""
    cells, num_tokens = LATENT_SIDE**2, 2 * MAX_TOKENS
    layer = Attention(FULL_WIDTH, 768, heads=HEADS, dim_head=FULL_WIDTH // HEADS).to(device, dtype)
    hidden = torch.randn(2, cells, FULL_WIDTH, device=device, dtype=dtype)
    text = torch.randn(2, num_tokens, 768, device=device, dtype=dtype)
    masks = blocks((2, LATENT_SIDE, LATENT_SIDE)).to(device)
    owners = torch.full((2, num_tokens), -1, device=device)
    owners[:, 1 : 1 + NUM_CLASSES * TOKENS_PER_CLASS] = torch.arange(NUM_CLASSES, device=device).repeat_interleave(
        TOKENS_PER_CLASS
    )
    wide, wide_owners = filled_up(text, owners, num_tokens)
    bias = rectification_of(masks, wide_owners, [(LATENT_SIDE, LATENT_SIDE)], dtype)
    rectified, plain = RectifiedAttention(), AttnProcessor2_0()
    measured = turns(
        lambda: rectified(layer, hidden, wide, rectification=bias), lambda: plain(layer, hidden, text), rounds, device
    )
    return {**measured, "classes": NUM_CLASSES, "cells": cells, "tokens": num_tokens, "bar": 1.15}


def sampling(device: torch.device, dtype: torch.dtype, args: argparse.Namespace) -> dict[str, Any]:
    """Ours against the pipelines of diffusers: the same parts, noise, prompt and steps, without decoding."""
    width, size_px = (FULL_WIDTH, 512) if args.full else (NARROW_WIDTH, 256)
    parts = new_parts(width, device, dtype)
    controlnet = ControlNetModel.from_unet(parts.unet).to(device, dtype)
    masks = blocks((1, size_px, size_px))
    colours = colour_table(SPACE, OWN_PALETTE, {})
    settings = ControlNetSettings(model="random", controlnet="random")
    control = ControlNetGenerator(parts, controlnet, colours, SPACE.names, settings)
    (prompt,) = control.prompts(masks)
    theirs = StableDiffusionControlNetPipeline(controlnet=controlnet, **pipeline_parts(parts))
    condition = colour_condition(masks, colours)
    results = {"controlnet": compared(control, theirs, masks, prompt, args, image=condition)}
    parts.unet.set_attn_processor(RectifiedAttention())
    tokens = tuple(tuple(parts.tokenizer(name, add_special_tokens=False).input_ids) for name in SPACE.names)
    freestyle = FreestyleGenerator(parts, tokens, FreestyleSettings(model="random"))
    pipeline = StableDiffusionPipeline(**pipeline_parts(parts))
    results["freestyle"] = compared(freestyle, pipeline, masks, prompt, args, height=size_px, width=size_px)
    shared = {"width": width, "size_px": size_px, "steps": args.steps, "guidance_scale": GUIDANCE_SCALE}
    return {name: {**measured, **shared} for name, measured in results.items()}


def compared(
    generator: Generator, pipeline: Any, masks: Tensor, prompt: str, args: argparse.Namespace, **call: Any
) -> dict[str, Any]:
    """Sampling by ours and by the pipeline, the making of the condition included."""
    pipeline.set_progress_bar_config(disable=True)
    device, dtype = pipeline.device, pipeline.unet.dtype
    noise = torch.randn(1, *generator.latent_shape((masks.shape[1], masks.shape[2]))).to(device)
    schedule = levels_of(generator.scheduler, args.steps)
    call |= {"num_inference_steps": args.steps, "guidance_scale": GUIDANCE_SCALE, "output_type": "latent"}
    return turns(
        lambda: ddim(generator.bind(masks, GUIDANCE_SCALE), noise, schedule),
        lambda: pipeline(prompt, latents=noise.to(dtype), **call),
        args.rounds,
        torch.device(device),
    )


def blocks(shape: tuple[int, int, int]) -> Tensor:
    """Masks of 50 classes in a chessboard of 8 x 8 fields."""
    _, height, width = shape
    rows, columns = torch.arange(height) * 8 // height, torch.arange(width) * 8 // width
    return ((rows[:, None] * 8 + columns) % NUM_CLASSES).to(torch.uint8).expand(shape).contiguous()


def new_parts(width: int, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Stable Diffusion 1.x with random weights, `width` channels at the finest grid instead of 320."""
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        attention_head_dim=HEADS,
        cross_attention_dim=768,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase), ",</w>"]
    merges = ["c l", "a s", "cl as", "clas s</w>", *(f"{a} {b}</w>" for a in "ab" for b in string.ascii_lowercase)]
    known = [*letters, *(merge.replace(" ", "") for merge in merges), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: place for place, token in enumerate(known)}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary, merges=[tuple(merge.split()) for merge in merges], model_max_length=MAX_TOKENS
    )
    end = len(vocabulary) - 1
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=768,
        intermediate_size=3072,
        num_attention_heads=12,
        bos_token_id=end - 1,
        eos_token_id=end,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )
    networks = [network.to(device, dtype).eval() for network in (unet, CLIPTextModel(config))]
    return StableDiffusion(networks[0], vae.to(device).eval(), None, networks[1], tokenizer, scheduler)


def pipeline_parts(parts: StableDiffusion) -> dict[str, Any]:
    """What every pipeline of diffusers is made of."""
    return {
        "unet": parts.unet,
        "vae": parts.vae,
        "text_encoder": parts.text_encoder,
        "tokenizer": parts.tokenizer,
        "scheduler": DDIMScheduler.from_config(parts.scheduler.config),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


if __name__ == "__main__":
    main()
