"""Training, fitting, gathering and scoring give the same bits on pairs read from files as on pairs in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from d3s2.base.pixels import to_unit
from d3s2.data.known.scenes import SPACE, Scenes
from d3s2.data.pairs import FilePairs, PairSource, in_order, load_pairs
from d3s2.generator.compact.fit import draw_weights, fit_generator
from d3s2.generator.compact.network import new_generator
from d3s2.generator.compact.settings import CompactFitSettings
from d3s2.metrics.counting import confusion_matrix
from d3s2.nets.compact.unet import CompactUNet
from d3s2.student.prediction import predict, score
from d3s2.student.settings import TrainSettings
from d3s2.student.training import train
from d3s2.teacher.bank import gather_bank

CPU = torch.device("cpu")
SCENES = Scenes("train", 20, size_px=(32, 48))
HELD = load_pairs(SCENES, SCENES.ids)
READ = FilePairs(SCENES, tuple(SCENES.ids), threads=3)


def fresh_network() -> CompactUNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CompactUNet(num_classes=SPACE.num_classes, width=8)


def weights_of(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


@pytest.mark.parametrize("batch", [4, 24])
def test_training(batch: int) -> None:
    def trained(pairs: PairSource) -> torch.Tensor:
        net = fresh_network()
        train(net, pairs, TrainSettings(iterations=8, batch=batch), seed=3, device=CPU)
        return weights_of(net)

    assert torch.equal(trained(HELD), trained(READ))


@pytest.mark.parametrize("rare_boost", [0.0, 0.5])
def test_fitting_of_the_generator(rare_boost: float, tmp_path: Path) -> None:
    def fitted(pairs: PairSource, name: str) -> torch.Tensor:
        model = new_generator(0, num_classes=SPACE.num_classes, channels=(32, 32))
        settings = CompactFitSettings(steps=4, batch=3, rare_boost=rare_boost)
        return weights_of(fit_generator(model, pairs, settings, seed=1, checkpoint=tmp_path / name, device=CPU)[0])

    assert torch.equal(fitted(HELD, "held.pt"), fitted(READ, "read.pt"))
    assert torch.equal(
        draw_weights(HELD, SPACE.num_classes, rare_boost), draw_weights(READ, SPACE.num_classes, rare_boost)
    )


def test_the_feature_bank() -> None:
    net = fresh_network().eval()
    banks = []
    for source in (HELD, READ):
        batches = ((to_unit(part.images), part.masks) for part in source.batches(in_order(len(source), 16)))
        banks.append(gather_bank(net, batches, ("down1", "up1"), {}))
    for layer in ("down1", "up1"):
        torch.testing.assert_close(banks[0].means[layer], banks[1].means[layer], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(
            banks[0].deviations[layer], banks[1].deviations[layer], rtol=0, atol=0, equal_nan=True
        )


def test_scoring_in_batches_equals_one_matrix_of_all_predictions() -> None:
    net = fresh_network().eval()
    at_once = confusion_matrix(predict(net, HELD.images, device=CPU, batch=16), HELD.masks, SPACE.num_classes)
    for source in (HELD, READ):
        assert np.array_equal(score(net, source, device=CPU), at_once)
