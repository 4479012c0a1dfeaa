"""Trials of plans: processor seconds of one thread, after a warm-up, the median of several."""

import itertools

import pytest
import torch

from d3s2.nets.compact import CompactUNet
from d3s2.planning import trials
from d3s2.planning.living import GIB
from d3s2.planning.trials import TRIALS, with_threads
from d3s2.student import TrainSettings

CPU = torch.device("cpu")


def clock_of(monkeypatch: pytest.MonkeyPatch, taken: list[float]) -> None:
    """A processor clock on which steps take so long; no other clock may be read."""
    edges = itertools.chain.from_iterable((0.0, seconds) for seconds in taken)
    monkeypatch.setattr(trials.time, "process_time", lambda: next(edges))
    monkeypatch.delattr(trials.time, "perf_counter")


def test_one_slow_step_among_several_and_the_first_one_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    clock_of(monkeypatch, [1.0, 1.25, 90.0, 1.0, 1.5])
    before = torch.get_num_threads()
    monkeypatch.setattr(trials, "ENOUGH_S", 1000.0)
    assert trials.tried(lambda: threads.append(torch.get_num_threads()), CPU).seconds == 1.25
    assert threads == [1] * (1 + TRIALS)
    assert torch.get_num_threads() == before


def test_long_steps_are_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_of(monkeypatch, [20.0, 19.0, 21.0])
    assert trials.tried(lambda: None, CPU).seconds == 20.0


def test_more_threads_take_less_but_never_nothing() -> None:
    taken = [with_threads(1.0, threads, CPU) for threads in (1, 2, 8, 1000)]
    assert taken[0] == 1.0
    assert taken == sorted(taken, reverse=True)
    assert 0.5 < taken[1] < 0.7
    assert taken[-1] > 1 - trials.PARALLEL_SHARE
    assert with_threads(1.0, 8, torch.device("cuda")) == 1.0


def test_a_trial_of_a_student_holds_what_its_optimiser_keeps() -> None:
    settings = TrainSettings(iterations=1000, batch=1, width=32)
    one = trials.unet_step(settings, (16, 16), 3, CPU)
    num_weights = sum(weight.numel() for weight in CompactUNet(num_classes=3, width=32).parameters())
    assert one.seconds > 0
    assert one.gib * GIB > 4 * 4 * num_weights  # weights, gradients and two moments: not a forward pass alone
