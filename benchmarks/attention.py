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
import sys
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from full_size_models import (
    FULL_WIDTH,
    HEADS,
    MAX_TOKENS,
    NARROW_WIDTH,
    TEXT_CHANNELS,
    blocks,
    label_space,
    new_parts,
    pipeline_parts,
)
from side_by_side import parser_for, tell, turns
from torch import Tensor

from d3s2.base.machine.runtime import pick_device
from d3s2.generator.compute import DTYPES
from d3s2.generator.conditions.conditioning import Conditioning
from d3s2.generator.conditions.palettes import OWN_PALETTE, colour_condition, colour_table
from d3s2.generator.layout_to_image import LayoutToImage
from d3s2.generator.samplers import ddim
from d3s2.generator.schedules import levels_of
from d3s2.generator.stable_diffusion.controlnet import ControlNetGenerator
from d3s2.generator.stable_diffusion.freestyle import FreestyleGenerator
from d3s2.generator.stable_diffusion.rectified_attention import RectifiedAttention, filled_up, rectification_of
from d3s2.generator.stable_diffusion.settings import ControlNetSettings, FreestyleSettings

NUM_CLASSES = 50
LATENT_SIDE = 64
TOKENS_PER_CLASS = 2
GUIDANCE_SCALE = 5.0
SPACE = label_space(NUM_CLASSES)


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device, dtype = pick_device(args.device), DTYPES[args.dtype]
    torch.manual_seed(0)
    with torch.no_grad():
        measured = {
            "dtype": args.dtype,
            "attention": attention(device, dtype, args.rounds),
            **sampling(device, dtype, args),
        }
    tell("attention", device, args.out, measured)


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=9)
    parser.add_argument("--full", action="store_true", help="Stable Diffusion's own width, 512 x 512 px")
    parser.add_argument("--size", type=int, help="px, both sides of sampled images; default 256, with --full 512")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    return parser.parse_args(words)


def attention(device: torch.device, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """One layer: 64 x 64 cells, 50 classes of two tokens in two chunks, a batch of one under guidance."""
    cells, num_tokens = LATENT_SIDE**2, 2 * MAX_TOKENS
    layer = Attention(FULL_WIDTH, TEXT_CHANNELS, heads=HEADS, dim_head=FULL_WIDTH // HEADS).to(device, dtype)
    hidden = torch.randn(2, cells, FULL_WIDTH, device=device, dtype=dtype)
    text = torch.randn(2, num_tokens, TEXT_CHANNELS, device=device, dtype=dtype)
    masks = blocks((2, LATENT_SIDE, LATENT_SIDE), NUM_CLASSES).to(device)
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
    width, size_px = (FULL_WIDTH, args.size or 512) if args.full else (NARROW_WIDTH, args.size or 256)
    parts = new_parts(width, device, dtype)
    controlnet = ControlNetModel.from_unet(parts.unet).to(device, dtype)
    masks = blocks((1, size_px, size_px), NUM_CLASSES)
    colours = colour_table(SPACE, OWN_PALETTE, {})
    settings = ControlNetSettings(model="random", controlnet="random")
    control = ControlNetGenerator(parts, controlnet, Conditioning(colours, SPACE.names, settings), settings)
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
    generator: LayoutToImage, pipeline: Any, masks: Tensor, prompt: str, args: argparse.Namespace, **call: Any
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


if __name__ == "__main__":
    main()
