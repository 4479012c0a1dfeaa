"""Judges read images on the device: bytes travel there; a vector an image, and counts, come back."""

import pytest
import torch
from elsewhere import ELSEWHERE, Reading, Watched, landing_from
from torch import Tensor

from d3s2 import similarity
from d3s2.data import catalogue
from d3s2.data.settings import DataSettings
from d3s2.evaluation.judges import facts
from d3s2.metrics import counting
from d3s2.nets.fresh import new_segmenter

NUM_IMAGES = 6


def test_images_travel_as_bytes_and_vectors_and_counts_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    landed = landing_from(monkeypatch, facts, counting)
    monkeypatch.setattr(facts, "BATCH", 3)
    settings = DataSettings(dataset="scenes", size=(32, 48), options={"count": {"train": NUM_IMAGES, "test": 2}})
    data = catalogue.open_split(settings, "train")
    net = new_segmenter("compact-unet", data.space.num_classes, seed=0, width=8).to(ELSEWHERE).eval()
    with Watched() as watched:
        found = facts.read_facts({facts.TEACHER: net}, data, data.ids, scored=True, device=ELSEWHERE)
    assert len(found.features) == NUM_IMAGES
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    assert max(tensor.numel() for tensor in landed) <= max(found.features[:3].numel(), data.space.num_classes**2)
    assert {tensor.dtype for tensor in watched.moved} == {torch.uint8}


def vectors(count: int, device: torch.device) -> Tensor:
    return torch.rand(count, 4, generator=torch.Generator().manual_seed(count)).to(device)


def test_distances_are_taken_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "BLOCK", 3)
    with Watched() as watched:
        spread = similarity.spread_of(vectors(8, ELSEWHERE))
    assert spread.radius.device == ELSEWHERE
    assert [tuple(tensor.shape) for tensor in watched.moved] == [(8, 4)]


@pytest.mark.parametrize("block", [2, 8])
def test_a_comparison_is_waited_for_once_however_many_blocks_it_has(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "BLOCK", block)
    spread = similarity.spread_of(vectors(8, torch.device("cpu")))
    with Reading() as reading:
        similarity.compare(spread, vectors(5, torch.device("cpu")))
    assert reading.count == 2  # density and coverage
