"""What a teacher says of finished and of real images is worked out on the device; of soft labels cells come back."""

from pathlib import Path

import pytest
import torch
from elsewhere import ELSEWHERE, Watched, landing_from
from tiny_run import TINY

from d3s2.hub import weights
from d3s2.nets.compact.unet import CompactUNet
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import save_segmenter
from d3s2.pipeline.controls.soft_real import softener
from d3s2.pipeline.run import Run
from d3s2.recipes import load_run
from d3s2.store.soft import labels
from d3s2.synthesis import items, trace
from d3s2.synthesis.settings import SoftSettings, SynthesizeSettings
from d3s2.teacher.bank import FeatureBank

SIZE = (32, 48)
COUNT = 18
CELLS = (8, 12)
SOFT = SoftSettings(num_top=3, cell_px=4)
TABLES = [(3, *CELLS), (3, *CELLS), (1, *CELLS)]
"""Shares of a cell's three classes, which they are, and what all classes sum to."""


def test_a_finished_batch_comes_back_as_bytes_cells_and_a_number_an_item(monkeypatch: pytest.MonkeyPatch) -> None:
    landed, soft = landing_from(monkeypatch, items, trace), landing_from(monkeypatch, labels, number=1)
    teacher = new_segmenter("compact-unet", COUNT, seed=0, width=8).to(ELSEWHERE).eval()
    bank = FeatureBank({}, {}, {}, torch.ones(COUNT, device=ELSEWHERE), {})
    settings = SynthesizeSettings.model_validate(
        {"guidance": {"energies": {"segmentation": 1.0}}, "soft": SOFT, "filter": 1.25}
    )
    images = torch.zeros(2, 3, *SIZE, device=ELSEWHERE)
    masks = torch.zeros(2, *SIZE, dtype=torch.uint8, device=ELSEWHERE)
    with Watched() as watched:
        made = items.finished(images, masks, (0, 0), teacher, bank, settings)
    assert [item.image.shape for item in made] == [(*SIZE, 3)] * 2
    assert [tuple(tensor.shape) for tensor in landed] == [(2,), (2,), (2, *SIZE, 3), (2, *SIZE), (2,)]
    assert {tensor.dtype for tensor in landed if tensor.ndim > 1} == {torch.uint8}
    assert [tuple(tensor.shape) for tensor in soft] == TABLES * 2
    assert {tensor.device for tensor in [*landed, *soft]} == {ELSEWHERE}
    assert not watched.moved


def test_real_images_travel_as_bytes_and_cells_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    landing_from(monkeypatch, weights)
    landed = landing_from(monkeypatch, labels, number=1)
    words = [*TINY, f"teacher.source={tmp_path / 'teacher'}", f"synthesize.soft={SOFT.model_dump()}"]
    run = Run(load_run("scenes", words), tmp_path, ELSEWHERE)
    save_segmenter(CompactUNet(num_classes=COUNT, width=8), tmp_path / "teacher", run.train_data.space.names)
    ids = run.train_data.ids[:18]
    soften = softener(run)
    soften(ids[:1])  # loads the teacher
    landed.clear()
    with Watched() as watched:
        folder = soften(ids)
    assert len(list(folder.iterdir())) == len(ids)
    assert [tuple(tensor.shape) for tensor in landed] == TABLES * 17
    assert {tensor.device for tensor in landed} == {ELSEWHERE}
    assert [(tensor.dtype, len(tensor)) for tensor in watched.moved] == [(torch.uint8, 16), (torch.uint8, 1)]
