"""The loop of every training: resumed from its checkpoint, batches read ahead, losses checked, its state kept.

Who trains says what a step draws, how batches are read, and what is learnt from one. A step that draws all it needs
from its own number ends, resumed or not, with the same numbers.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import tee
from typing import TypeVar

import torch

from d3s2.base.finite import require_finite_loss
from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.progress import SILENT, Progress
from d3s2.base.tracking import tracked

LOSS_MEMORY = 0.98  # of the smoothed loss that the bar shows: the weight of all steps before

Drawn = TypeVar("Drawn")
Batch = TypeVar("Batch")
Loss = Callable[[], float]
"""Reads the loss of a step. It is called when the next step is under way, so that a GPU need not be waited for."""


@dataclass(frozen=True)
class Training:
    """What all trainings have.

    Args:
        label: of the progress bar, and of errors.
        steps: in all, those before a resume included.
        lr: peak of the learning rate, for the error about a loss that is not finite.
        checkpoint: the state, read at the start where its file is there. None keeps none.
        checkpoint_s: seconds between two writes of it.
        keeps: whether this process writes it; of several that train together one does.
        progress: where the training is told.
    """

    label: str
    steps: int
    lr: float
    checkpoint: Checkpoint | None = None
    checkpoint_s: float = 120.0
    keeps: bool = True
    progress: Progress = SILENT


def run_steps(
    training: Training,
    draws: Callable[[int], Iterator[tuple[list[int], Drawn]]],
    batches: Callable[[Iterator[list[int]]], Iterator[Batch]],
    learn: Callable[[int, list[int], Drawn, Batch], Loss],
    *,
    device: torch.device,
    preview: Callable[[int], None] | None = None,
) -> float:
    """Takes the steps that are left of a training; returns the seconds that it took over all resumes.

    Args:
        draws: number of the first step (from 0) -> for each step positions of its batch, and what else it draws.
        batches: positions of many batches -> the batches; it may read ahead.
        learn: one step: (its number, positions, what was drawn, batch) -> its loss.
        device: where a checkpoint's tensors are put.
        preview: called with the number of steps done, after each checkpoint.

    Raises:
        NumericError: a loss that is not finite; no checkpoint is written after it.
        StoreError: the checkpoint does not fit, or cannot be written.
    """
    state = training.checkpoint
    first, before_s = state.load(device) if state else (0, 0.0)
    if first:
        training.progress.say(f"{training.label}: resumed at step {first} of {training.steps}")
    drawn, ahead = tee(draws(first))
    read = batches(positions for positions, _ in ahead)
    began = saved_at = time.monotonic()
    log = state.path if state and training.keeps else None
    with tracked(log, first) as tell, training.progress.task(training.label, training.steps, done=first) as task:
        losses = _Losses(training, tell)
        for step, ((positions, draw), batch) in enumerate(zip(drawn, read, strict=True), start=first):
            loss = learn(step, positions, draw, batch)
            losses.settle(step)  # of the step before: this one's would be waited for
            task.advance(note=losses.note)
            losses.pending = loss
            if state and training.keeps and time.monotonic() - saved_at > training.checkpoint_s:
                losses.settle(step + 1)
                state.save(step + 1, before_s + time.monotonic() - began)
                if preview is not None:
                    preview(step + 1)
                saved_at = time.monotonic()
        losses.settle(training.steps)
    return before_s + time.monotonic() - began


class _Losses:
    """The losses of a training: each is checked and told once, and the bar shows them smoothed."""

    def __init__(self, training: Training, tell: Callable[[int, float], None]) -> None:
        self.training, self.tell = training, tell
        self.pending: Loss | None = None
        self.smooth: float | None = None

    def settle(self, step: int) -> None:
        """Reads the loss that is pending, of step `step` (from 1); raises NumericError where it is not finite."""
        if self.pending is None:
            return
        value, self.pending = self.pending(), None
        require_finite_loss(value, self.training.label, step, self.training.lr)
        self.tell(step, value)
        self.smooth = value if self.smooth is None else LOSS_MEMORY * self.smooth + (1 - LOSS_MEMORY) * value

    @property
    def note(self) -> str:
        """For the bar."""
        return "" if self.smooth is None else f"loss {self.smooth:.3f}"
