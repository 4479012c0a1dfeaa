"""A checkpoint is read where it fits what it is for, and named where it does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from d3s2.base.errors import StoreError
from d3s2.base.formats.checkpoint import Checkpoint

CPU = torch.device("cpu")


def trained(path: Path) -> Checkpoint:
    net = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return Checkpoint(path, {"net": net, "optimiser": optimiser})


def fresh(path: Path) -> Checkpoint:
    net = nn.Linear(3, 2)
    return Checkpoint(path, {"net": net, "optimiser": torch.optim.AdamW(net.parameters(), lr=1e-3)})


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    kept = trained(tmp_path / "a.pt")
    kept.save(3, 1.5)
    again = fresh(tmp_path / "a.pt")
    assert again.load(CPU) == (3, 1.5)
    assert torch.equal(again.parts["net"].weight, kept.parts["net"].weight)
    assert fresh(tmp_path / "none.pt").load(CPU) == (0, 0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: [], "list indices"),
        (lambda content: content | {"step": "3"}, "its step or its time is no number"),
        (lambda content: content | {"wall_s": float("nan")}, "its step or its time is no number"),
        (lambda content: content["net"].update(weight="x"), "net.weight is no torch.float32 tensor of shape [2, 3]"),
        (lambda content: content["net"].update(weight=torch.full((2, 3), torch.nan)), "numbers that are not finite"),
        (lambda content: content["optimiser"]["param_groups"][0].update(lr="x"), "lr is no number"),
        (
            lambda content: content["optimiser"]["state"][0].update(exp_avg="x"),
            "'exp_avg' of a weight has not its shape",
        ),
        (
            lambda content: content["optimiser"].update(state={0: {}, 1: content["optimiser"]["state"][1]}),
            "its weights have different moments",
        ),
        (lambda content: content["optimiser"]["state"][0].update(exp_avg=torch.zeros(5)), "has not its shape"),
    ],
)
def test_wrong_types_are_named(tmp_path: Path, change: Callable[[Any], Any], reason: str) -> None:
    path = tmp_path / "a.pt"
    trained(path).save(3, 1.5)
    content = torch.load(path, weights_only=True)
    changed = change(content)
    torch.save(content if changed is None else changed, path)
    with pytest.raises(
        StoreError, match=r"a\.pt: this checkpoint does not fit the model .*delete it to start"
    ) as caught:
        fresh(path).load(CPU)
    assert reason in str(caught.value)


class RunsCode:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("key", ["step", "net", "more"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, key: str) -> None:
    trained(tmp_path / "a.pt").save(3, 1.5)
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save(content | {key: RunsCode(tmp_path / "ran")}, tmp_path / "a.pt")
    with pytest.raises(StoreError, match=r"a\.pt: this checkpoint does not fit the model"):
        fresh(tmp_path / "a.pt").load(CPU)
    assert not (tmp_path / "ran").exists()
