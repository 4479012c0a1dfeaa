"""What each option of a generator's `compute` block, and the tiny decoder, cost and save.

    python benchmarks/generator_options.py --out benchmarks/generator_options_DATE.json
    python benchmarks/generator_options.py --device cuda --full --out benchmarks/generator_options_gpu_DATE.json

Each option against none on the same work: seconds in the same process, the sides taking turns; the most memory beyond
the weights, each side in a process of its own; and by how much the results differ. Weights are random. By default the
diffusion network is a fifth as wide as Stable Diffusion's, for one core; --full takes its own width, and 512 px.
An option that does not run here stays in the result, with the reason.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderTiny
from full_size_models import FULL_WIDTH, MAX_TOKENS, NARROW_WIDTH, TEXT_CHANNELS, new_unet, new_vae
from side_by_side import in_own_process, parser_for, peak_gib_of, tell, turns
from torch import Tensor

from d3s2.base.machine.runtime import pick_device
from d3s2.generator.compute import DTYPES, prepared
from d3s2.generator.settings import ComputeSettings

Action = Callable[[], Tensor]


@dataclass(frozen=True)
class Sizes:
    """How large the work is; cells are 8 x 8 px."""

    width: int
    cells: int
    gradient_cells: int
    tiled_cells: int
    small_vae: bool


FULL = Sizes(FULL_WIDTH, cells=64, gradient_cells=64, tiled_cells=128, small_vae=False)
NARROW = Sizes(NARROW_WIDTH, cells=32, gradient_cells=16, tiled_cells=96, small_vae=True)


def main() -> None:
    """Measures, prints one JSON object on the last line, and writes it where asked."""
    args = parse(sys.argv[1:])
    device = pick_device(args.device)
    sizes = FULL if args.full else NARROW
    measured = {name: compared(name, device, args) for name in args.options}
    tell("generator options", device, args.out, {"sizes": vars(sizes), "options": measured})


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = parser_for(__doc__, rounds=3)
    parser.add_argument("--full", action="store_true", help="Stable Diffusion's own width, 512 x 512 px")
    parser.add_argument(
        "--options", nargs="+", choices=list(WORKS), default=[name for name in WORKS if name != "compile"]
    )
    return parser.parse_args(words)


def compared(option: str, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """Ours is with the option, theirs without."""
    work = WORKS[option].__name__
    try:
        ours, theirs = (action_for(option, on, device, args.full) for on in (True, False))
        change = float((ours() - theirs()).abs().max() / theirs().abs().max())
        found = turns(ours, theirs, args.rounds, device)
        memory = {
            f"{side}_gib": in_own_process(memory_of, option, on, str(device), args.full)
            for side, on in (("ours", True), ("theirs", False))
        }
    except (RuntimeError, NotImplementedError, ValueError) as error:
        return {"work": work, "failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    return {"work": work, **found, **memory, "largest_change": change}


def memory_of(option: str, on: bool, device: str, full: bool) -> float:
    """The most memory that the work takes beyond what is there before it."""
    return peak_gib_of(action_for(option, on, torch.device(device), full), torch.device(device))["beyond_start_gib"]


def action_for(option: str, on: bool, device: torch.device, full: bool) -> Action:
    """The work of an option, with it or without, on the same weights and inputs."""
    torch.manual_seed(0)
    return WORKS[option](option if on else None, device, FULL if full else NARROW)


def step(option: str | None, device: torch.device, sizes: Sizes) -> Action:
    """The diffusion network on one latent under classifier-free guidance (a batch of two)."""
    network, inputs = diffusion(option, device, sizes)

    def act() -> Tensor:
        with torch.no_grad():
            return network(*inputs).sample.float()

    return act


def step_gradient(option: str | None, device: torch.device, sizes: Sizes) -> Action:
    """The same and back to the latent, as `full` guidance goes."""
    network, (x, *conditions) = diffusion(option, device, sizes)

    def act() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(network(leaf, *conditions).sample.sum(), leaf)[0]

    return act


def decode_batch(option: str | None, device: torch.device, sizes: Sizes) -> Action:
    """The full autoencoder on four latents."""
    return decode(option, (4, sizes.cells), device, sizes)


def decode_large(option: str | None, device: torch.device, sizes: Sizes) -> Action:
    """The full autoencoder on one latent that is larger than a tile (64 cells)."""
    return decode(option, (1, sizes.tiled_cells), device, sizes)


def decode_gradient(option: str | None, device: torch.device, sizes: Sizes) -> Action:
    """The decode of guidance and back to the latent: AutoencoderTiny against AutoencoderKL, both as published."""
    torch.manual_seed(1)
    network = (AutoencoderTiny() if option else new_vae()).to(device).eval().requires_grad_(False)
    x = torch.randn(1, 4, sizes.gradient_cells, sizes.gradient_cells, device=device)

    def act() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(network.decode(leaf).sample.sum(), leaf)[0]

    return act


def diffusion(option: str | None, device: torch.device, sizes: Sizes) -> tuple[Any, list[Tensor]]:
    """The diffusion network as an option makes it, and what it is called with."""
    dtype = option if option in DTYPES else "float32"
    flags = {option: True} if option and option not in DTYPES else {}
    settings = ComputeSettings.model_validate({"dtype": dtype, **flags})
    network = new_unet(sizes.width).to(device, DTYPES[dtype]).eval().requires_grad_(False)
    x = torch.randn(1, 4, sizes.cells, sizes.cells).expand(2, -1, -1, -1)
    text = torch.randn(2, MAX_TOKENS, TEXT_CHANNELS)
    time = torch.full((2,), 500.0, device=device)
    return prepared(network, settings), [x.to(device, DTYPES[dtype]), time, text.to(device, DTYPES[dtype])]


def decode(option: str | None, shape: tuple[int, int], device: torch.device, sizes: Sizes) -> Action:
    """The full autoencoder, without a gradient, on (latents, cells a side)."""
    vae = new_vae(small=sizes.small_vae).to(device).eval().requires_grad_(False)
    if option == "vae_slicing":
        vae.enable_slicing()
    if option == "vae_tiling":
        vae.enable_tiling()
    count, cells = shape
    x = torch.randn(count, 4, cells, cells, device=device)

    def act() -> Tensor:
        with torch.no_grad():
            return vae.decode(x).sample

    return act


WORKS: dict[str, Callable[[str | None, torch.device, Sizes], Action]] = {
    "bfloat16": step,
    "float16": step,
    "channels_last": step,
    "attention_slicing": step,
    "compile": step,
    "gradient_checkpointing": step_gradient,
    "vae_slicing": decode_batch,
    "vae_tiling": decode_large,
    "tiny_decoder": decode_gradient,
}
"""Option -> the work that it is for."""


if __name__ == "__main__":
    main()
