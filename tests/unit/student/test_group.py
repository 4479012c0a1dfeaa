"""Several processes that train one network: the weights of one process, scores of all pairs, the same after a stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import tiny_network
from torch import Tensor, nn

from d3s2.base.errors import WorkError
from d3s2.base.machine.launch import run_together
from d3s2.base.progress import SILENT, Task
from d3s2.data.pairs import Pairs
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.fresh import adapted
from d3s2.nets.loading import NETWORKS, Network
from d3s2.student.group import launched_group
from d3s2.student.prediction import measure
from d3s2.student.settings import TrainSettings
from d3s2.student.soft import SoftSource
from d3s2.student.training import train

CPU = torch.device("cpu")
SETTINGS = TrainSettings(iterations=4, batch=4, lr=1e-3, clip_norm=1e6)  # gradients as they are
Learnt = tuple[dict[str, Tensor], np.ndarray]


class Cells:
    cell_px = 8

    def probabilities(self) -> np.ndarray:
        shares = np.random.default_rng(0).random((4, 4, 8), dtype=np.float32)
        return shares / shares.sum(axis=0)


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 64), generator=generator, dtype=torch.uint8)
    blocks = torch.randint(0, 4, (6, 4, 8), generator=generator, dtype=torch.uint8)
    masks = blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2)
    masks[::2, :20] = 255  # parts of a batch differ much in how many pixels count
    return Pairs(images, masks)


def fresh(kind: str) -> Network:
    if kind == "compact-unet":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return CompactUNet(num_classes=4, width=8)
    network = tiny_network(kind)
    for module in network.modules():  # what the loss draws is each process's own
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif type(module).__name__.endswith("DropPath"):
            module.drop_prob = 0.0
    return adapted(network, NETWORKS[kind])


def learnt_by(net: Network) -> dict[str, Tensor]:
    """Weights and buffers, and the gradients of the last step."""
    gradients = {f"{name} grad": p.grad for name, p in net.named_parameters() if p.grad is not None}
    return {**net.state_dict(), **gradients}


def require_the_same(ours: dict[str, Tensor], net: Network) -> None:
    """But for running statistics."""
    alone, buffers = learnt_by(net), dict(net.named_buffers())
    assert ours.keys() == alone.keys()
    for name in alone.keys() - buffers.keys():
        torch.testing.assert_close(ours[name], alone[name], rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


def soft_labels() -> SoftSource:
    return SoftSource([None, Cells(), Cells(), None, Cells(), Cells()], 0.5)


class StoppedError(Exception):
    pass


class StopAtThree:
    """A progress that ends the work in the third step."""

    left = 3

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps
        if self.left == 0:
            raise StoppedError("stopped")

    def say(self, text: str) -> None:
        pass


def in_each_process(
    kind: str, settings: TrainSettings, soft: bool, checkpoint: Path | None, stopped: bool
) -> list[Learnt]:
    """What every process learns and counts, so that they can be compared."""
    torch.set_num_threads(1)
    net = fresh(kind)
    with launched_group(CPU) as group:
        train(
            net,
            pairs(),
            settings,
            seed=7,
            device=CPU,
            soft=soft_labels() if soft else None,
            checkpoint=checkpoint,
            checkpoint_s=0.0,
            progress=StopAtThree() if stopped else SILENT,
            group=group,
        )
        confusion = measure(net, pairs(), device=CPU, batch=1, group=group).confusion
        gathered: list[Learnt | None] = [None] * group.size
        torch.distributed.all_gather_object(gathered, (learnt_by(net), confusion))
    return [one for one in gathered if one is not None]


def together(
    kind: str,
    settings: TrainSettings = SETTINGS,
    soft: bool = False,
    checkpoint: Path | None = None,
    stopped: bool = False,
) -> list[Learnt]:
    work = "trained a network"
    return run_together(in_each_process, kind, settings, soft, checkpoint, stopped, num_processes=2, work=work)


# Batch normalisation (SegFormer, UPerNet) takes its statistics from a part of a batch as from a process's rows on a
# CPU: what is learnt is the same. The running ones, which training does not read, see the parts in another order.
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "soft"), [("compact-unet", True), ("segformer", True), ("upernet", False)])
def test_two_processes_give_the_weights_of_one_with_as_many_parts(kind: str, soft: bool) -> None:
    first, second = together(kind, soft=soft)
    net, labels = fresh(kind), soft_labels() if soft else None
    train(net, pairs(), SETTINGS.model_copy(update={"accumulate": 2}), seed=7, device=CPU, soft=labels)
    require_the_same(first[0], net)
    assert all(torch.equal(weight, second[0][name]) for name, weight in first[0].items())
    np.testing.assert_array_equal(first[1], second[1])
    assert first[1].sum() == (pairs().masks != 255).sum()


@pytest.mark.slow
def test_two_processes_in_two_parts_each_give_the_weights_of_the_whole_batch() -> None:
    first, _ = together("compact-unet", SETTINGS.model_copy(update={"accumulate": 2}))
    net = fresh("compact-unet")  # normalises each image by itself
    train(net, pairs(), SETTINGS, seed=7, device=CPU)
    require_the_same(first[0], net)


@pytest.mark.slow
def test_stopped_and_resumed_together_gives_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    through, _ = together("mask2former")  # its loss draws points in each process
    with pytest.raises(WorkError, match=r"^One of 2 processes that trained a network ended \(StoppedError: stopped\)"):
        together("mask2former", checkpoint=path, stopped=True)
    assert path.exists()
    resumed, _ = together("mask2former", checkpoint=path)
    assert all(torch.equal(weight, through[0][name]) for name, weight in resumed[0].items())
