"""What each option of a generator's `compute` block, and the tiny decoder, cost and save.

    python benchmarks/generator_options.py --out benchmarks/generator_options_DATE.json
    python benchmarks/generator_options.py --device cuda --full --out benchmarks/generator_options_gpu_DATE.json

Each option against none on the same work in the same process, the sides taking turns: seconds of one step of the
diffusion network (with its gradient for gradient checkpointing), seconds of a decode with its gradient, and the most
memory that a gradient takes. Weights are random, sizes as in `attention.py`.
"""

import argparse
import copy
import json
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from attention import FULL_WIDTH, NARROW_WIDTH, new_parts, turns
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor

from d3s2.base.files import write_json
from d3s2.base.runtime import commit, hardware, pick_device, versions
from d3s2.generator.parts import ComputeSettings, prepared

FULL_CELLS, NARROW_CELLS = 64, 32
STEP_OPTIONS = ("channels_last", "attention_slicing", "compile")
REDUCED = ("bfloat16", "float16")


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    torch.manual_seed(0)
    cells = FULL_CELLS if args.full else NARROW_CELLS
    unet = new_parts(FULL_WIDTH if args.full else NARROW_WIDTH, device, torch.float32).unet.requires_grad_(False)
    result = {
        "benchmark": "generator options",
        "hardware": hardware(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "command": " ".join(["python", *sys.argv]),
        "versions": versions(),
        "width": FULL_WIDTH if args.full else NARROW_WIDTH,
        "cells": cells,
        "steps": {name: step(unet, cells, name, args.rounds) for name in args.options},
        "gradient_checkpointing": checkpointing(device, args.full, args.rounds),
        "tiny_decoder": decoding(device, args.full, args.rounds),
    }
    if args.out:
        write_json(args.out, result)
    print(json.dumps(result))


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="Stable Diffusion's own width, 512 x 512 px")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--options", nargs="+", default=["channels_last", "attention_slicing", "bfloat16"])
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(words)


def step(unet: Any, cells: int, option: str, rounds: int) -> dict[str, Any]:
    """One step under classifier-free guidance (a batch of two)."""
    other = copy.deepcopy(unet)
    if option in REDUCED:
        other.to(getattr(torch, option))
    elif option in STEP_OPTIONS:
        other = prepared(other, ComputeSettings.model_validate({option: True}))
    with torch.no_grad():
        return turns(forward(other, cells), forward(unet, cells), rounds, unet.device)


def forward(unet: Any, cells: int) -> Callable[[], Tensor]:
    """The diffusion network on fixed inputs."""
    x = torch.randn(2, 4, cells, cells, device=unet.device, dtype=unet.dtype)
    text = torch.randn(2, 77, 768, device=unet.device, dtype=unet.dtype)
    time = torch.full((2,), 500.0, device=unet.device)
    return lambda: unet(x, time, text).sample


def checkpointing(device: torch.device, full: bool, rounds: int) -> dict[str, Any]:
    """A step and its gradient with respect to the noisy latent, as `full` guidance takes them."""
    sides = {"ours": "checkpointed", "theirs": "unet"}
    measured = turns(*(gradient(kind, device, full) for kind in sides.values()), rounds, device)
    return {**measured, **{f"{name}_memory_gib": memory_gib(kind, device, full) for name, kind in sides.items()}}


def decoding(device: torch.device, full: bool, rounds: int) -> dict[str, Any]:
    """A decode of one image and its gradient: AutoencoderTiny (ours), AutoencoderKL (theirs), at their own size."""
    sides = {"ours": "tiny", "theirs": "vae"}
    measured = turns(*(gradient(kind, device, full) for kind in sides.values()), rounds, device)
    return {**measured, **{f"{name}_memory_gib": memory_gib(kind, device, full) for name, kind in sides.items()}}


def gradient(kind: str, device: torch.device, full: bool) -> Callable[[], Tensor]:
    """A network of one kind, and back through it to its input."""
    network = new_network(kind, device, full)
    cells = FULL_CELLS if full else NARROW_CELLS
    batch = 1 if kind in ("tiny", "vae") else 2
    text, time = torch.randn(2, 77, 768, device=device), torch.full((2,), 500.0, device=device)

    def run() -> Tensor:
        x = torch.randn(batch, 4, cells, cells, device=device).requires_grad_()
        output = network.decode(x).sample if batch == 1 else network(x, time, text).sample
        return torch.autograd.grad(output.sum(), x)[0]

    return run


def new_network(kind: str, device: torch.device, full: bool) -> Any:
    """Frozen, with random weights."""
    if kind == "tiny":
        network: Any = AutoencoderTiny()
    elif kind == "vae":
        network = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            latent_channels=4,
            layers_per_block=2,
        )
    else:
        network = new_parts(FULL_WIDTH if full else NARROW_WIDTH, device, torch.float32).unet
        network = prepared(network, ComputeSettings(gradient_checkpointing=kind == "checkpointed"))
    return network.to(device).requires_grad_(False)


def memory_gib(kind: str, device: torch.device, full: bool) -> float:
    """The most memory that one gradient takes, weights not counted; in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peak_gib, kind, str(device), full).result()


def peak_gib(kind: str, device_name: str, full: bool) -> float:
    """`memory_gib`, in its process."""
    device = torch.device(device_name)
    run = gradient(kind, device, full)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        run()
        return round((torch.cuda.max_memory_allocated() - before) / 2**30, 3)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 2**20, 3)


if __name__ == "__main__":
    main()
