"""Soft labels through the line: the teacher's opinion on the very images that are stored, in both sets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import call, content, distil

from d3s2.base.pixels import to_unit
from d3s2.nets.loading import load_segmenter
from d3s2.store.reader import DistilledSet
from d3s2.store.soft.labels import ERROR_BOUND
from d3s2.store.verification import verify

SOFT = "synthesize.soft={num_top: 3, cell_px: 5}"


@pytest.fixture(scope="module")
def softened(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("soft") / "run"
    assert distil(folder, SOFT) == 0
    return folder


@pytest.mark.parametrize("place", [".", "unguided"])
def test_soft_labels_are_the_teachers_opinion_on_the_stored_image(softened: Path, place: str) -> None:
    distilled = DistilledSet(softened / place)
    teacher = load_segmenter(softened / "models/teacher", distilled.space.names, device=torch.device("cpu"))
    for item_id in distilled.ids:
        image = torch.from_numpy(distilled.image(item_id)).permute(2, 0, 1)[None]
        with torch.no_grad():
            seen = teacher(to_unit(image)).scores.softmax(dim=1)[0]
        soft = distilled.soft(item_id)
        assert soft is not None
        assert (soft.num_classes, soft.cell_px, soft.classes.shape) == (18, 5, (3, 7, 10))
        corner = seen[:, 5:10, 45:48].mean(dim=(1, 2)).numpy()
        kept = soft.classes[:, 1, 9].astype(int)
        assert set(kept) == set(np.argsort(-corner)[:3])
        assert np.abs(soft.probabilities()[kept, 1, 9] - corner[kept]).max() < ERROR_BOUND + 1e-5


def test_their_bytes_count_and_the_set_is_sound(softened: Path) -> None:
    for folder in (softened, softened / "unguided"):
        assert verify(folder).sound
        files = [path for kind in ("images", "labels", "soft") for path in (folder / kind).iterdir()]
        assert len(files) == 15
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["bytes"] == sum(path.stat().st_size for path in files)
        assert manifest["config"]["synthesize"]["soft"] == {"num_top": 3, "cell_px": 5}


def test_a_soft_label_that_is_lost_is_made_again(softened: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(softened, folder)
    soft_files = sorted((folder / "unguided/soft").iterdir())
    soft_files[0].unlink()
    soft_files[3].write_bytes(soft_files[2].read_bytes())
    assert call("verify", str(folder / "unguided")) == 1
    assert distil(folder, SOFT) == 0
    assert content(folder) == content(softened)


def test_soft_labels_of_no_class_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil(tmp_path / "run", "synthesize.soft={num_top: 0}") == 2
    assert (
        "Key 'synthesize.soft.num_top': input should be greater than or equal to 1, got 0." in capsys.readouterr().err
    )
