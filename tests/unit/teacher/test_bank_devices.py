"""The feature bank is gathered on the device: what comes back are tables, and the losses of pixels."""

import pytest
import torch
from elsewhere import ELSEWHERE, Watched, landing_from

from d3s2.nets.fresh import new_segmenter
from d3s2.teacher import bank, class_losses

SIZE = (32, 48)
COUNT = 5


def test_tables_come_back_and_no_feature_map(monkeypatch: pytest.MonkeyPatch) -> None:
    landed = landing_from(monkeypatch, bank, class_losses)
    teacher = new_segmenter("compact-unet", COUNT, seed=0, width=8).to(ELSEWHERE).eval()
    images = torch.zeros(2, 3, *SIZE, device=ELSEWHERE)
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8, device=ELSEWHERE)
    layers = ("up1", "up2")
    with Watched() as watched:
        part = bank.gather_part(teacher, [(images, masks)] * 2, layers)
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    channels = [part.running[layer].mean.shape[1] for layer in layers]
    tables = [shape for width in channels for shape in ((COUNT,), (COUNT, width), (COUNT, width))]
    assert [tuple(tensor.shape) for tensor in landed] == [*tables, (2, *SIZE), (2, *SIZE)] * 2
    assert not watched.moved
