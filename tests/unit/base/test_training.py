"""The loop of every training: it resumes, reads ahead, checks each loss once, and keeps its state."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from d3s2.base.errors import NumericError, UsageError
from d3s2.base.formats.checkpoint import Checkpoint
from d3s2.base.progress import Task
from d3s2.base.training import Training, run_steps
from d3s2.recipes import load_run

CPU = torch.device("cpu")


class Said:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.notes.append(note)

    def say(self, text: str) -> None:
        self.lines.append(text)


class Counted:
    """A training that counts: its state is the sum of all that was learnt."""

    def __init__(self, path: Path | None, *, bad_step: int = -1, **how: object) -> None:
        self.weight = torch.nn.Linear(1, 1, bias=False).requires_grad_(False)
        self.weight.weight.zero_()
        self.bad_step, self.said, self.saved = bad_step, Said(), []
        state = None if path is None else Checkpoint(path, {"net": self.weight})
        self.training = Training("count", 6, 0.1, state, 0.0, progress=self.said, **how)

    def draws(self, first: int) -> Iterator[tuple[list[int], str]]:
        for step in range(first, 6):
            yield [step, step + 1], f"drawn {step}"

    def batches(self, positions: Iterator[list[int]]) -> Iterator[int]:
        yield from [sum(some) for some in positions]  # all at once: far ahead of the steps

    def learn(self, step: int, positions: list[int], drawn: str, batch: int) -> Callable[[], float]:
        assert (positions, drawn, batch) == ([step, step + 1], f"drawn {step}", 2 * step + 1)
        self.weight.weight += batch
        return lambda: float("nan") if step == self.bad_step else float(step)

    def run(self, preview: Callable[[int], None] | None = None) -> float:
        return run_steps(self.training, self.draws, self.batches, self.learn, device=CPU, preview=preview)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def stop(step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    whole, stopped, resumed = (Counted(path) for path in (None, tmp_path / "c.pt", tmp_path / "c.pt"))
    whole.run()
    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    assert resumed.run() > 0
    assert resumed.weight.weight.item() == whole.weight.weight.item() == 36
    assert resumed.said.lines == ["count: resumed at step 4 of 6"]
    assert (len(whole.said.notes), len(resumed.said.notes)) == (6, 2)


def test_a_tracker_is_told_each_loss_once_over_all_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    monkeypatch.setenv("D3S2_TRACKER", "tensorboard")
    with pytest.raises(KeyboardInterrupt):
        Counted(tmp_path / "c.pt").run(stop)
    Counted(tmp_path / "c.pt").run()
    Counted(tmp_path / "other.pt", keeps=False).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.pt", "c.tensorboard"]
    found = EventAccumulator(str(tmp_path / "c.tensorboard")).Reload()
    assert [(one.step, one.value) for one in found.Scalars("loss")] == [(step + 1, float(step)) for step in range(6)]


@pytest.mark.parametrize(
    ("name", "package", "text"),
    [
        (
            "tensorbord",
            "tensorboard",
            r"Unknown tracker in D3S2_TRACKER 'tensorbord': .* Did you mean 'tensorboard'\?$",
        ),
        (
            "tensorboard",
            "none",
            r"is tensorboard, whose package is missing; pip install 'd3s2\[tensorboard\]' or unset",
        ),
    ],
)
def test_a_tracker_that_is_none_is_refused_when_the_run_is_read(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, text: str
) -> None:
    monkeypatch.setenv("D3S2_TRACKER", name)
    monkeypatch.setattr("d3s2.base.tracking.find_spec", lambda asked: None if asked != package else find_spec(asked))
    with pytest.raises(UsageError, match=text):
        load_run("scenes")


def test_the_bar_shows_the_smoothed_loss_of_the_steps_before() -> None:
    counted = Counted(None)
    counted.run()
    assert counted.said.notes == ["", "loss 0.000", "loss 0.020", "loss 0.060", "loss 0.118", "loss 0.196"]


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_a_loss_that_is_not_finite_is_named_and_no_state_is_kept_after_it(tmp_path: Path, bad: int) -> None:
    with pytest.raises(NumericError, match=rf"^count: the loss of step {bad + 1} is nan"):
        Counted(tmp_path / "c.pt", bad_step=bad).run()
    kept = Checkpoint(tmp_path / "c.pt", {"net": torch.nn.Linear(1, 1, bias=False)}).load(CPU)[0]
    assert kept == bad
    with pytest.raises(NumericError, match=rf"step {bad + 1} is nan"):
        Counted(None, bad_step=bad).run()


def test_a_process_that_keeps_nothing_writes_nothing(tmp_path: Path) -> None:
    Counted(tmp_path / "c.pt", keeps=False).run()
    assert not (tmp_path / "c.pt").exists()
