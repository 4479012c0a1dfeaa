"""Random generators from names: what an item draws depends on the run's seed and its own id only."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_for(seed: int, *names: object) -> int:
    """A 63-bit seed for (seed, names), the same on every platform, order and process."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def torch_generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for (seed, names); global random state is never touched."""
    return torch.Generator(device="cpu").manual_seed(seed_for(seed, *names))


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """For large draws on a device: `generator` itself on a CPU, elsewhere a new one that starts from its seed.

    A processor draws a batch of noise at 256 px more slowly than a GPU learns from it.
    """
    if device.type != "cuda":
        return generator
    return torch.Generator(device=device).manual_seed(generator.initial_seed())


def numpy_generator(seed: int, *names: object) -> np.random.Generator:
    """A NumPy generator (PCG64) for (seed, names)."""
    return np.random.Generator(np.random.PCG64(seed_for(seed, *names)))


@contextmanager
def seeded(device: torch.device, seed: int, *names: object) -> Iterator[None]:
    """For code that draws from torch's own generators: they start at (seed, names) inside, and are as before after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_for(seed, *names))
        yield
