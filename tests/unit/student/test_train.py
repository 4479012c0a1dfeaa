"""Training resumes where it was stopped, and learns the same however it is cut."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_networks import tiny_network
from torch import Tensor, nn

from d3s2.base.errors import NumericError, StoreError
from d3s2.base.progress import Task
from d3s2.data.pairs import Pairs
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.fresh import adapted
from d3s2.nets.loading import NETWORKS, Network
from d3s2.student.settings import TrainSettings
from d3s2.student.training import train

CPU = torch.device("cpu")
SETTINGS = TrainSettings(iterations=5, batch=2, lr=1e-3)


def pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 32, 64), generator=generator, dtype=torch.uint8)
    blocks = torch.randint(0, 4, (6, 4, 8), generator=generator, dtype=torch.uint8)
    return Pairs(images, blocks.repeat_interleave(8, dim=1).repeat_interleave(8, dim=2))


def fresh(kind: str) -> Network:
    if kind != "compact-unet":
        return adapted(tiny_network(kind), NETWORKS[kind])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactUNet(num_classes=4, width=8)


def weights(net: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().float() for tensor in net.state_dict().values()])


class StoppedError(Exception):
    pass


class StopAt:
    """A progress that ends the work in the middle, as a user does who presses Ctrl-C."""

    def __init__(self, step: int) -> None:
        self.left, self.done = step, -1

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        self.done = done
        yield self

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.left -= steps
        if self.left == 0:
            raise StoppedError

    def say(self, text: str) -> None:
        pass


@pytest.mark.parametrize("kind", ["compact-unet", "segformer", "mask2former"])
def test_stopped_twice_and_resumed_gives_the_same_weights_to_the_bit(kind: str, tmp_path: Path) -> None:
    through, stopped, before = fresh(kind), [fresh(kind) for _ in range(3)], torch.get_rng_state()
    train(through, pairs(), SETTINGS, seed=7, device=CPU)
    how = {"seed": 7, "device": CPU, "checkpoint": tmp_path / "checkpoint.pt", "checkpoint_s": 0.0}
    for net in stopped[:2]:
        with pytest.raises(StoppedError):
            train(net, pairs(), SETTINGS, progress=StopAt(3), **how)
    last = StopAt(9)
    train(stopped[2], pairs(), SETTINGS, progress=last, **how)
    assert last.done == 4
    assert torch.equal(weights(stopped[2]), weights(through))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["compact-unet", "segformer", "mask2former"])
def test_looks_on_the_way_see_the_network_as_it_would_be_used_and_change_nothing(kind: str) -> None:
    through, looked = fresh(kind), fresh(kind)
    train(through, pairs(), SETTINGS, seed=7, device=CPU)
    seen = []

    def look(steps: int) -> None:
        assert not any(module.training for module in looked.modules())
        seen.append((steps, weights(looked)))

    train(looked, pairs(), SETTINGS, seed=7, device=CPU, callback=look, callback_every=2)
    assert [steps for steps, _ in seen] == [2, 4]
    assert not torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(weights(looked), weights(through))


def test_a_short_training_leaves_no_checkpoint_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    train(fresh("compact-unet"), pairs(), SETTINGS, seed=7, device=CPU, checkpoint=path)
    assert not path.exists()
    path.write_bytes(b"something else")
    with pytest.raises(StoreError, match=r"checkpoint\.pt: this checkpoint does not fit .*delete it to start anew"):
        train(fresh("compact-unet"), pairs(), SETTINGS, seed=7, device=CPU, checkpoint=path)


def test_a_batch_in_parts_gives_the_gradient_of_the_whole() -> None:
    # zoomed out, parts differ in how many pixels count
    still = {"iterations": 1, "batch": 4, "lr": 1e-3, "clip_norm": 1e6}
    nets = []
    for accumulate in (1, 2, 4):
        net = fresh("compact-unet")
        train(net, pairs(), TrainSettings(**still, accumulate=accumulate), seed=7, device=CPU)
        nets.append(net)
    for net in nets[1:]:
        for ours, whole in zip(net.parameters(), nets[0].parameters(), strict=True):
            assert ours.grad is not None
            torch.testing.assert_close(ours.grad, whole.grad, rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step() -> None:
    net = fresh("compact-unet")
    settings = TrainSettings(iterations=20, batch=2).model_copy(update={"lr": 1e30})
    with pytest.raises(
        NumericError, match=r"^student 1: the loss of step \d+ is .*, expected a finite .* \(lr is 1e\+30\)"
    ):
        train(net, pairs(), settings, seed=0, device=CPU, label="student 1")


def test_the_protocol_reaches_the_optimiser() -> None:
    plain, slower = fresh("segformer"), fresh("segformer")
    train(plain, pairs(), TrainSettings(iterations=1, batch=2), seed=7, device=CPU)
    train(slower, pairs(), TrainSettings(iterations=1, batch=2, backbone_lr_share=1e-9), seed=7, device=CPU)
    backbones = [net.get_submodule("network.segformer") for net in (fresh("segformer"), plain, slower)]
    start, taught, kept = (next(p for p in backbone.parameters() if p.ndim == 4) for backbone in backbones)
    assert not torch.allclose(taught, start, atol=1e-6, rtol=0)
    torch.testing.assert_close(kept, start, atol=1e-6, rtol=0)
