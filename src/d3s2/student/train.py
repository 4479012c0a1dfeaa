"""Training of a segmentation network on a set of pairs: one code for every set, and for the teacher."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path

import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from d3s2.base.checkpoint import Checkpoint
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import seeded, torch_generator
from d3s2.base.train_ids import IGNORE
from d3s2.data.pairs import Pairs, PairSource, to_unit
from d3s2.nets.loading import Network
from d3s2.nets.trainable import SoftTargets
from d3s2.student.augment import Augmentation, Augmented, augment
from d3s2.student.group import ALONE, Group
from d3s2.student.soft import SoftSource, soft_batch

CHECKPOINT_S = 120.0


@dataclass(frozen=True)
class TrainSettings:
    """The protocol; the same for every set that is compared.

    Args:
        iterations: optimiser steps, whatever the size of the set.
        batch: pairs a step over all processes, drawn with replacement where the set is smaller.
        lr: peak; warm-up over `warmup_share` of the steps, then polynomial decay to 0 with `poly_power`.
        backbone_lr_share: of `lr`, at which a backbone learns.
        weight_decay: of AdamW.
        clip_norm: largest norm of a step's gradient.
        accumulate: parts of its rows of a batch that a process takes through the network one after another, to save
            memory.
        augmentation: what is varied.
    """

    iterations: int
    batch: int = 8
    lr: float = 2e-3
    backbone_lr_share: float = 0.1
    weight_decay: float = 0.01
    warmup_share: float = 0.05
    poly_power: float = 0.9
    clip_norm: float = 1.0
    accumulate: int = 1
    augmentation: Augmentation = field(default_factory=Augmentation)


def train(
    net: Network,
    pairs: PairSource,
    settings: TrainSettings,
    *,
    seed: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    soft: SoftSource | None = None,
    checkpoint: Path | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    progress: Progress = SILENT,
    label: str = "train",
    group: Group = ALONE,
    look: Callable[[int], None] | None = None,
    look_every: int = 0,
) -> float:
    """Trains `net` in place on `pairs` and returns the seconds that all sittings took.

    Each step's batch, and what the loss draws, come from (seed, step): a training that goes on from a checkpoint
    ends with the numbers of one that was never stopped (on a CPU to the bit). Each process of a group draws, reads and
    varies the whole batch and learns from its rows: what is learnt from is the same for any number of processes. What
    the loss draws is each process's own, the first one's that of a process alone.

    Args:
        net: says itself what its loss is and how fast each part learns.
        autocast: reduced format for the network; losses are float32.
        soft: soft labels of the pairs. None: the masks say it all.
        checkpoint: file that is read at the start where it is there, and written every `checkpoint_s` seconds; a
            training that takes less writes none.
        label: of the progress bar.
        group: processes that call this together, with the same arguments; the first one writes the checkpoint.
        look: is called with the number of steps taken, the network as it would be used then; what is learnt does not
            depend on it.
        look_every: steps between two looks; 0, and at the last step, none.
    """
    net.to(device).train()
    model = group.joined(net)
    optimiser = torch.optim.AdamW(net.parameter_groups(settings.lr, settings.weight_decay, settings.backbone_lr_share))
    warmup = min(max(1, round(settings.warmup_share * settings.iterations)), settings.iterations - 1)
    rate = get_polynomial_decay_schedule_with_warmup(
        optimiser, warmup, settings.iterations, lr_end=0.0, power=settings.poly_power
    )
    scaler = torch.amp.GradScaler(device.type, enabled=autocast == torch.float16)
    parts = {"net": net, "optimiser": optimiser, "rate": rate, "scaler": scaler}
    state = None if checkpoint is None else Checkpoint(checkpoint, parts)
    first, before_s = state.load(device) if state else (0, 0.0)
    began = saved_at = time.monotonic()
    others = [group.index] if group.index else []
    drawn, ahead = tee(_draws(len(pairs), settings, seed, first))
    batches = pairs.batches(positions for positions, _ in ahead)
    with progress.task(label, settings.iterations, done=first) as task:
        for step, ((positions, generator), batch) in enumerate(zip(drawn, batches, strict=True), start=first):
            learnt = _varied(batch, positions, settings, generator, soft, net.num_classes, group)
            optimiser.zero_grad(set_to_none=True)
            with seeded(device, seed, "loss", step, *others):
                loss = _add_gradients(model, learnt, settings.accumulate, device, autocast, scaler, group)
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
            scaler.step(optimiser)
            scaler.update()
            rate.step()
            task.advance(note=f"loss {loss:.2f}")
            if look and look_every and (step + 1) % look_every == 0 and step + 1 < settings.iterations:
                group.share_buffers(net)
                net.eval()
                look(step + 1)
                net.train()
            if state and group.index == 0 and time.monotonic() - saved_at > checkpoint_s:
                saved_at = time.monotonic()
                state.save(step + 1, before_s + saved_at - began)
    group.share_buffers(net)
    net.eval()
    return before_s + time.monotonic() - began


@dataclass(frozen=True)
class _Batch:
    """What a process learns from in a step.

    Args:
        num_scored: pixels that count, over the rows of all processes.
    """

    images: Float[Tensor, "b 3 h w"]
    masks: UInt8[Tensor, "b h w"]
    soft: SoftTargets | None
    num_scored: int

    def parts(self, count: int) -> Iterator["_Batch"]:
        """The batch in `count` parts, in order."""
        for images, masks, places in zip(
            self.images.chunk(count), self.masks.chunk(count), torch.arange(len(self.masks)).chunk(count), strict=True
        ):
            soft = self.soft and SoftTargets(self.soft.probabilities[places], self.soft.weight)
            yield _Batch(images, masks, soft, self.num_scored)

    def on(self, device: torch.device) -> "_Batch":
        """The same on a device."""
        soft = self.soft and SoftTargets(self.soft.probabilities.to(device), self.soft.weight)
        return _Batch(self.images.to(device), self.masks.to(device), soft, self.num_scored)


def _varied(
    batch: Pairs,
    positions: Sequence[int],
    settings: TrainSettings,
    generator: torch.Generator,
    soft: SoftSource | None,
    num_classes: int,
    group: Group,
) -> _Batch:
    whole = augment(to_unit(batch.images), batch.masks, settings.augmentation, generator)
    rows, num_scored = group.rows(len(positions)), _num_scored(whole.masks)
    varied = Augmented(*(tensor[rows] for tensor in whole))
    if soft is None:
        return _Batch(varied.images, varied.masks, None, num_scored)
    cells = [soft.cells[position] for position in positions[rows]]
    probabilities = soft_batch(cells, varied, num_classes)
    return _Batch(varied.images, varied.masks, SoftTargets(probabilities, soft.weight), num_scored)


def _num_scored(masks: UInt8[Tensor, "b h w"]) -> int:
    return int((masks != IGNORE).sum())


def _add_gradients(
    model: nn.Module,
    batch: _Batch,
    num_parts: int,
    device: torch.device,
    autocast: torch.dtype | None,
    scaler: torch.amp.GradScaler,
    group: Group,
) -> float:
    """Adds the gradient of the mean loss of a batch, part by part; returns that loss as this process sees it."""
    total = 0.0
    parts = [*batch.parts(num_parts)]
    for part in parts:
        here = part.on(device)
        # a mean over its scored pixels; between processes the gradients are averaged, so `size` makes their sum of it
        share = _num_scored(part.masks) / max(batch.num_scored, 1) * group.size
        with group.exchange(model, now=part is parts[-1]):
            with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
                loss = model(here.images, here.masks, here.soft)
            loss = loss * share
            scaler.scale(loss).backward()
        total += float(loss.detach())
    return total


def _draws(count: int, settings: TrainSettings, seed: int, first: int) -> Iterator[tuple[list[int], torch.Generator]]:
    """Positions of each step's batch, and the generator that drew them, for what else the step draws."""
    for step in range(first, settings.iterations):
        generator = torch_generator(seed, "train", step)
        yield _draw(count, settings.batch, generator), generator


def _draw(count: int, batch: int, generator: torch.Generator) -> list[int]:
    """Positions of a batch: without replacement where the set is large enough."""
    if count >= batch:
        return torch.randperm(count, generator=generator)[:batch].tolist()
    return torch.randint(count, (batch,), generator=generator).tolist()
