"""Training of a segmentation network on a set of pairs: one code for every set, and for the teacher."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path

import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from d3s2.base.checkpoint import Checkpoint
from d3s2.base.finite import require_finite_loss
from d3s2.base.moving import number_later, to_device
from d3s2.base.progress import SILENT, Progress
from d3s2.base.runtime import reduced
from d3s2.base.seeds import seeded, torch_generator
from d3s2.base.train_ids import IGNORE
from d3s2.data.pairs import Pairs, PairSource, to_unit
from d3s2.nets.loading import Network
from d3s2.nets.trainable import SoftTargets
from d3s2.student.augment import Augmentation, Variation, augment, draw_variation
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

    Raises:
        NumericError: a loss that is not finite.
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
    loss_before = None
    with progress.task(label, settings.iterations, done=first) as task:
        for step, ((positions, generator), batch) in enumerate(zip(drawn, batches, strict=True), start=first):
            variation = draw_variation(len(positions), batch.size_px, settings.augmentation, generator)
            learnt = _varied(batch, variation, soft and soft.at(positions[group.rows(len(positions))]), device, group)
            optimiser.zero_grad(set_to_none=True)
            with seeded(device, seed, "loss", step, *others):
                loss = _add_gradients(model, learnt, settings.accumulate, net.num_classes, autocast, scaler, group)
            scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
            scaler.step(optimiser)
            scaler.update()
            rate.step()
            # the loss before: this one would be waited for, and the device would then wait for its next work
            task.advance(note=f"loss {_finite(loss_before, label, step, settings.lr):.2f}" if loss_before else "")
            loss_before = number_later(loss)
            if look and look_every and (step + 1) % look_every == 0 and step + 1 < settings.iterations:
                group.share_buffers(net)
                net.eval()
                look(step + 1)
                net.train()
            if state and group.index == 0 and time.monotonic() - saved_at > checkpoint_s:
                saved_at = time.monotonic()
                _finite(loss_before, label, step + 1, settings.lr)
                state.save(step + 1, before_s + saved_at - began)
    if loss_before:
        _finite(loss_before, label, settings.iterations, settings.lr)
    group.share_buffers(net)
    net.eval()
    return before_s + time.monotonic() - began


def _finite(loss: Callable[[], float], label: str, step: int, lr: float) -> float:
    value = loss()
    require_finite_loss(value, label, step, lr)
    return value


@dataclass(frozen=True)
class _Batch:
    """What a process learns from in a step, on its device.

    Args:
        matrix: where the variation took the pictures; on the CPU.
        soft: of the pairs of the batch.
        num_scored: pixels that count, over the rows of all processes.
    """

    images: Float[Tensor, "b 3 h w"]
    masks: UInt8[Tensor, "b h w"]
    matrix: Float[Tensor, "b 2 3"]
    soft: SoftSource | None
    num_scored: Int64[Tensor, ""]

    def parts(self, count: int) -> Iterator["_Batch"]:
        """The batch in `count` parts, in order."""
        for images, masks, matrix, places in zip(
            self.images.chunk(count),
            self.masks.chunk(count),
            self.matrix.chunk(count),
            torch.arange(len(self.masks)).chunk(count),
            strict=True,
        ):
            yield _Batch(images, masks, matrix, self.soft and self.soft.at(places.tolist()), self.num_scored)

    def soft_targets(self, num_classes: int) -> SoftTargets | None:
        """Its soft labels at every pixel, which take the memory of `num_classes` numbers each."""
        if self.soft is None:
            return None
        return SoftTargets(soft_batch(self.soft.cells, self.masks, self.matrix, num_classes), self.soft.weight)


def _varied(batch: Pairs, variation: Variation, soft: SoftSource | None, device: torch.device, group: Group) -> _Batch:
    """This process's rows of a batch, varied on its device, to which bytes travel.

    Args:
        soft: of its rows.
    """
    rows = group.rows(len(batch))
    images, masks = to_device(batch.images[rows], device), to_device(batch.masks, device)
    images, masks = augment(to_unit(images), masks, variation, rows)
    return _Batch(images, masks[rows], variation.matrix[rows], soft, _num_scored(masks))


def _num_scored(masks: UInt8[Tensor, "b h w"]) -> Int64[Tensor, ""]:
    return (masks != IGNORE).sum()


def _add_gradients(
    model: nn.Module,
    batch: _Batch,
    num_parts: int,
    num_classes: int,
    autocast: torch.dtype | None,
    scaler: torch.amp.GradScaler,
    group: Group,
) -> Float[Tensor, ""]:
    """Adds the gradient of the mean loss of a batch, part by part; returns that loss as this process sees it."""
    losses, parts = [], [*batch.parts(num_parts)]
    for part in parts:
        # a mean over its scored pixels; between processes the gradients are averaged, so `size` makes their sum of it
        share = _num_scored(part.masks) * group.size / batch.num_scored.clamp(min=1)
        soft = part.soft_targets(num_classes)
        with group.exchange(model, now=part is parts[-1]):
            with reduced(batch.images.device, autocast):
                loss = model(part.images, part.masks, soft)
            loss = loss * share
            scaler.scale(loss).backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


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
