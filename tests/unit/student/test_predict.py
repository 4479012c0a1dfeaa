"""Inference in windows, and counts that add up."""

import pytest
import torch
from tiny_networks import tiny_network

from d3s2.data.pairs import Pairs
from d3s2.metrics.counting import boundary_counts, confusion_matrix
from d3s2.nets.fresh import adapted
from d3s2.nets.loading import NETWORKS, frozen
from d3s2.student.prediction import measure, predict, sliding_scores
from d3s2.student.settings import SlidingWindowSettings

CPU = torch.device("cpu")


def network() -> torch.nn.Module:
    return frozen(adapted(tiny_network("segformer"), NETWORKS["segformer"]))


def images(height: int, width: int) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def naive(
    net: torch.nn.Module, picture: torch.Tensor, window: tuple[int, int], stride: tuple[int, int]
) -> torch.Tensor:
    """One pixel at a time: the mean of what all windows that see it say."""
    _, height, width = picture.shape
    tops, top = [], 0
    while top + window[0] < height:
        tops, top = [*tops, top], top + stride[0]
    lefts, left = [], 0
    while left + window[1] < width:
        lefts, left = [*lefts, left], left + stride[1]
    said = {}
    for top in [*tops, height - window[0]]:
        for left in [*lefts, width - window[1]]:
            scores = net(picture[None, :, top : top + window[0], left : left + window[1]]).scores[0]
            for y in range(window[0]):
                for x in range(window[1]):
                    said.setdefault((top + y, left + x), []).append(scores[:, y, x])
    return torch.stack(
        [torch.stack([torch.stack(said[y, x]).mean(dim=0) for x in range(width)], dim=1) for y in range(height)], dim=1
    )


@pytest.mark.parametrize("stride", [(20, 16), (32, 32)])
def test_windows_equal_a_naive_loop(stride: tuple[int, int]) -> None:
    net, pictures = network(), images(50, 70)
    with torch.no_grad():
        found = sliding_scores(net, pictures, SlidingWindowSettings(window_px=(32, 32), stride_px=stride))
        torch.testing.assert_close(found[0], naive(net, pictures[0], (32, 32), stride), rtol=1e-4, atol=1e-5)


def test_one_window_is_the_whole_image() -> None:
    net, pictures = network(), images(32, 64)
    with torch.no_grad():
        assert torch.equal(
            sliding_scores(net, pictures, SlidingWindowSettings(window_px=(32, 64), stride_px=(32, 64))),
            net(pictures).scores,
        )


def test_a_picture_smaller_than_the_window_is_padded() -> None:
    net, pictures = network(), images(20, 64)
    padded = torch.nn.functional.pad(pictures, (0, 0, 0, 12), mode="replicate")
    with torch.no_grad():
        found = sliding_scores(net, pictures, SlidingWindowSettings(window_px=(32, 64), stride_px=(16, 16)))
        torch.testing.assert_close(found, net(padded).scores[:, :, :20])


def test_counts_do_not_depend_on_the_batch() -> None:
    net = network()
    generator = torch.Generator().manual_seed(0)
    pairs = Pairs(
        torch.randint(0, 256, (5, 3, 32, 40), generator=generator, dtype=torch.uint8),
        torch.randint(0, 4, (5, 32, 40), generator=generator, dtype=torch.uint8),
    )
    predicted = predict(net, pairs.images, device=CPU)
    for batch in (2, 5):
        counts = measure(net, pairs, device=CPU, batch=batch)
        assert (counts.confusion == confusion_matrix(predicted, pairs.masks, 4)).all()
        assert (counts.boundary == boundary_counts(predicted, pairs.masks, 4)).all()
