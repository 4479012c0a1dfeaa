"""Training of a segmentation network on a set of pairs: one code for every set, and for the teacher."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.machine.moving import number_later, to_device
from d3s2.base.machine.runtime import autocast_dtype, reduced
from d3s2.base.pixels import to_unit
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import seeded, torch_generator
from d3s2.base.train_ids import IGNORE
from d3s2.base.training import Loss, Training, run_steps
from d3s2.data import Pairs, PairSource
from d3s2.nets import Network, SoftTargets
from d3s2.student.augment import Variation, augment, draw_variation
from d3s2.student.group import ALONE, Group
from d3s2.student.settings import TrainSettings
from d3s2.student.soft import SoftSource, soft_batch

CHECKPOINT_S = 120.0

PRECISIONS: dict[str, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def precision_of(settings: TrainSettings, device: torch.device) -> torch.dtype | None:
    """The reduced format that a network runs in; None for float32."""
    return autocast_dtype(device) if settings.precision == "auto" else PRECISIONS[settings.precision]


def precision_name(settings: TrainSettings, device: torch.device) -> str:
    """The format that a network runs in on this machine, for records: 'auto' is not the same everywhere."""
    return str(precision_of(settings, device) or torch.float32).removeprefix("torch.")


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
    callback: Callable[[int], None] | None = None,
    callback_every: int = 0,
) -> float:
    """Trains `net` in place on `pairs` and returns its run time over all resumes, in seconds.

    Each step's batch, and what the loss draws, come from (seed, step): a training that resumes from a checkpoint
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
        callback: is called with the number of iterations done, the network as it would be used then; what is learnt
            does not depend on it.
        callback_every: iterations between two calls; 0, and at the last iteration, none.

    Raises:
        NumericError: a loss that is not finite.

    Examples:
        >>> import torch
        >>> import d3s2
        >>> from d3s2.data import open_pairs, open_split
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.student import TrainSettings, train
        >>> real = open_split(d3s2.load_run("scenes", ["data.options={count: 8}"]).data, "train")
        >>> net = new_segmenter("compact-unet", real.space.num_classes, seed=0, width=8)
        >>> pairs, settings = open_pairs(real, real.ids), TrainSettings(iterations=2, batch=4)
        >>> wall_s = train(net, pairs, settings, seed=0, device=torch.device("cpu"))
        >>> net.training
        False
    """
    learner = _Learner(net, settings, seed, device, autocast, soft, group)
    state = None if checkpoint is None else Checkpoint(checkpoint, learner.parts)

    def learn(step: int, positions: list[int], generator: torch.Generator, batch: Pairs) -> Loss:
        loss = learner.learn(step, positions, generator, batch)
        if callback and callback_every and (step + 1) % callback_every == 0 and step + 1 < settings.iterations:
            group.share_buffers(net)
            net.eval()
            callback(step + 1)
            net.train()
        return loss

    wall_s = run_steps(
        Training(label, settings.iterations, settings.lr, state, checkpoint_s, group.index == 0, progress),
        partial(_draws, len(pairs), settings, seed),
        pairs.batches,
        learn,
        device=device,
    )
    group.share_buffers(net)
    net.eval()
    return wall_s


class _Learner:
    """The network, the optimiser and what one step does with them."""

    def __init__(
        self,
        net: Network,
        settings: TrainSettings,
        seed: int,
        device: torch.device,
        autocast: torch.dtype | None,
        soft: SoftSource | None,
        group: Group,
    ) -> None:
        net.to(device).train()
        self.net, self.settings, self.seed, self.device = net, settings, seed, device
        self.autocast, self.soft, self.group = autocast, soft, group
        self.model = group.joined(net)
        weights = net.parameter_groups(settings.lr, settings.weight_decay, settings.backbone_lr_share)
        self.optimiser = torch.optim.AdamW(weights)
        warmup = min(max(1, round(settings.warmup_share * settings.iterations)), settings.iterations - 1)
        self.rate = get_polynomial_decay_schedule_with_warmup(
            self.optimiser, warmup, settings.iterations, lr_end=0.0, power=settings.poly_power
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=autocast == torch.float16)

    @property
    def parts(self) -> dict[str, Any]:
        """All that changes from step to step."""
        return {"net": self.net, "optimiser": self.optimiser, "rate": self.rate, "scaler": self.scaler}

    def learn(self, step: int, positions: list[int], generator: torch.Generator, batch: Pairs) -> Loss:
        """One optimiser step on this process's rows of a batch; gives its loss as this process sees it."""
        settings, group, size = self.settings, self.group, len(positions)
        variation = draw_variation(size, batch.size_px, settings.augmentation, generator)
        soft = self.soft and self.soft.at(positions[group.rows(size)])
        learnt = _varied(batch, variation, soft, self.device, group)
        self.optimiser.zero_grad(set_to_none=True)
        others = [group.index] if group.index else []
        with seeded(self.device, self.seed, "loss", step, *others):
            loss = _add_gradients(
                self.model, learnt, settings.accumulate, self.net.num_classes, self.autocast, self.scaler, group
            )
        self.scaler.unscale_(self.optimiser)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), settings.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.rate.step()
        return number_later(loss)


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
