"""The filter through the line: which pixels it takes out of the stored labels, and that a stopped run ends the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_run import call, content, distil

from d3s2.base.pixels import to_unit
from d3s2.base.train_ids import IGNORE
from d3s2.data.known.scenes import Scenes
from d3s2.nets.loading import load_segmenter
from d3s2.store.reader import DistilledSet
from d3s2.store.verification import verify
from d3s2.teacher.bank import load_bank
from d3s2.teacher.class_losses import pixel_losses

TAU = 1.1
WORDS = (f"synthesize.filter={TAU}", "synthesize.soft={}", "synthesize.candidates=2")


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filter") / "run"
    assert distil(folder, *WORDS) == 0
    return folder


@pytest.mark.parametrize("place", [".", "unguided"])
def test_labels_lose_the_pixels_that_are_harder_than_real_ones(filtered: Path, place: str) -> None:
    distilled = DistilledSet(filtered / place)
    real = Scenes("train", 24, (32, 48))
    teacher = load_segmenter(filtered / "models/teacher", distilled.space.names, device=torch.device("cpu"))
    means = load_bank(next((filtered / "models").glob("bank-*.safetensors")), {}).losses
    num_filtered = 0
    for item_id in distilled.ids:
        mask = torch.from_numpy(real.mask(distilled.item(item_id).source_id))
        image = torch.from_numpy(distilled.image(item_id)).permute(2, 0, 1)[None]
        with torch.no_grad():
            losses = pixel_losses(teacher(to_unit(image)).scores, mask[None])[0]
        limits = TAU * means[mask.long()]
        label = torch.from_numpy(distilled.mask(item_id))
        # a batch may be summed in another order than one image: pixels on the very limit may fall to either side
        clear = (losses - limits).abs() > 1e-3
        assert clear.float().mean() > 0.9
        assert torch.equal((label == IGNORE)[clear], (losses > limits)[clear])
        assert (label[label != IGNORE] == mask[label != IGNORE]).all()
        assert distilled.item(item_id).ignored_px == int((label == IGNORE).sum())
        num_filtered += distilled.item(item_id).ignored_px
    assert 0 < num_filtered < 5 * 32 * 48
    assert json.loads((filtered / place / "manifest.json").read_text())["ignored_px"] == num_filtered


def test_means_are_those_of_all_real_pixels(filtered: Path) -> None:
    real = Scenes("train", 24, (32, 48))
    teacher = load_segmenter(filtered / "models/teacher", real.space.names, device=torch.device("cpu"))
    means = load_bank(next((filtered / "models").glob("bank-*.safetensors")), {}).losses
    masks = torch.stack([torch.from_numpy(real.mask(item_id)) for item_id in real.ids])
    images = torch.stack([torch.from_numpy(real.image(item_id)).permute(2, 0, 1) for item_id in real.ids])
    with torch.no_grad():
        losses = pixel_losses(teacher(to_unit(images)).scores, masks)
    for train in range(real.space.num_classes):
        here = losses[masks == train]
        torch.testing.assert_close(means[train], here.double().mean().float(), equal_nan=True)


def test_a_filtered_set_that_is_gone_on_with_has_the_same_bytes(filtered: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    shutil.copytree(filtered, folder)
    sorted((folder / "labels").iterdir())[0].unlink()
    sorted((folder / "soft").iterdir())[2].write_bytes(b"")
    sorted((folder / "unguided/images").iterdir())[4].unlink()
    assert call("verify", str(folder)) == 1
    assert distil(folder, *WORDS) == 0
    assert content(folder) == content(filtered)
    assert verify(folder).sound
    assert verify(folder / "unguided").sound


def test_a_filter_of_nothing_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "synthesize.filter=0") == 2
    assert "Key 'synthesize.filter': input should be greater than 0, got 0." in capsys.readouterr().err
