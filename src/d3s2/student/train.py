"""Training of a segmentation network on a set of pairs: one code for every set, and for the teacher."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import tee

import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup

from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import seeded, torch_generator
from d3s2.data.pairs import PairSource, to_unit
from d3s2.nets.loading import Network
from d3s2.student.augment import Augmentation, augment


@dataclass(frozen=True)
class TrainSettings:
    """The protocol; the same for every set that is compared.

    Args:
        iterations: optimiser steps, whatever the size of the set.
        batch: pairs a step, drawn with replacement where the set is smaller.
        lr: peak; warm-up over 5 % of the steps, then polynomial decay with power 0.9.
        weight_decay: of AdamW.
        augmentation: what is varied.
    """

    iterations: int
    batch: int = 8
    lr: float = 2e-3
    weight_decay: float = 0.01
    augmentation: Augmentation = field(default_factory=Augmentation)


WARMUP_SHARE = 0.05
MAX_GRADIENT_NORM = 1.0


def train(
    net: Network,
    pairs: PairSource,
    settings: TrainSettings,
    *,
    seed: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    progress: Progress = SILENT,
    label: str = "train",
) -> None:
    """Trains `net` in place on `pairs`; each step's batch comes from (seed, step).

    Args:
        net: says itself what its loss is and how fast each part learns; what its loss draws comes from (seed, step).
        autocast: reduced format for the network; losses are float32.
        label: of the progress bar.
    """
    net.to(device).train()
    optimiser = torch.optim.AdamW(net.parameter_groups(settings.lr, settings.weight_decay))
    warmup = max(1, round(WARMUP_SHARE * settings.iterations))
    rate = get_polynomial_decay_schedule_with_warmup(optimiser, warmup, settings.iterations, lr_end=0.0, power=0.9)
    drawn, ahead = tee(_draws(len(pairs), settings, seed))
    batches = pairs.batches(positions for positions, _ in ahead)
    with progress.task(label, settings.iterations) as task:
        for step, ((_, generator), pair_batch) in enumerate(zip(drawn, batches, strict=True)):
            batch = augment(to_unit(pair_batch.images), pair_batch.masks, settings.augmentation, generator)
            with (
                seeded(device, seed, "loss", step),
                torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
            ):
                loss = net.loss(*(tensor.to(device) for tensor in batch))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), MAX_GRADIENT_NORM)
            optimiser.step()
            rate.step()
            task.advance(note=f"loss {float(loss.detach()):.2f}")
    net.eval()


def _draws(count: int, settings: TrainSettings, seed: int) -> Iterator[tuple[list[int], torch.Generator]]:
    """Positions of each step's batch, and the generator that drew them, for what else the step draws."""
    for step in range(settings.iterations):
        generator = torch_generator(seed, "train", step)
        yield _draw(count, settings.batch, generator), generator


def _draw(count: int, batch: int, generator: torch.Generator) -> list[int]:
    """Positions of a batch: without replacement where the set is large enough."""
    if count >= batch:
        return torch.randperm(count, generator=generator)[:batch].tolist()
    return torch.randint(count, (batch,), generator=generator).tolist()
