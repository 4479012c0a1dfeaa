"""A teacher of other classes, from a folder, through a run file: mapped, resized, with the layers of its kind."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from tiny_networks import save_tiny
from tiny_run import TINY, call

from d3s2.base.config import read_yaml, with_overrides
from d3s2.base.pixels import to_unit
from d3s2.data.known.scenes import SPACE
from d3s2.nets.loading import load_segmenter
from d3s2.recipes import FOLDER
from d3s2.store.reader import DistilledSet

LABELS = ("stuff", *(name.upper() for name in SPACE.names), "tiny car", "nothing")
LABEL_MAP = {name: name.upper() for name in SPACE.names} | {"car": ["CAR", len(SPACE.names) + 1]}


def run_file(tmp_path: Path, **teacher: object) -> Path:
    """A whole run as YAML; its teacher is a tiny random Mask2Former that knows LABELS."""
    save_tiny("mask2former", tmp_path / "network", LABELS)
    values = with_overrides(read_yaml(FOLDER / "scenes.yaml"), TINY)
    values["teacher"] = {"source": str(tmp_path / "network"), "train": {"iterations": 1}} | teacher
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def distil_file(path: Path) -> int:
    return call("distill", str(path), "--out", str(path.parent / "run"), "--device", "cpu")


def test_a_mapped_teacher_guides_and_its_accuracy_is_over_the_mapped_classes(tmp_path: Path) -> None:
    path = run_file(tmp_path, label_map=LABEL_MAP, size_px=[32, 64])
    assert distil_file(path) == 0
    with safe_open(next((tmp_path / "run/models").glob("bank-*.safetensors")), framework="pt") as bank:
        assert bank.metadata()["layers"] == "backbone0,backbone1,backbone2,backbone3,decoder"
        assert bank.metadata()["size seen"] == "(32, 64)"
    distilled = DistilledSet(tmp_path / "run")
    where = torch.device("cpu")
    teacher = load_segmenter(
        tmp_path / "network", SPACE.names, device=where, label_map=LABEL_MAP, size_px=(32, 64), layers=()
    )
    for item_id in distilled.ids:
        image = torch.from_numpy(distilled.image(item_id)).permute(2, 0, 1)[None]
        with torch.no_grad():
            first_choice = teacher(to_unit(image)).scores.argmax(dim=1)[0].numpy()
        agreement = (first_choice == distilled.mask(item_id)).mean()
        assert distilled.item(item_id).teacher_accuracy == pytest.approx(agreement, abs=2e-3)


def test_a_teacher_of_other_classes_is_refused_with_the_differences(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert distil_file(run_file(tmp_path)) == 1
    said = capsys.readouterr().err
    assert "the network knows other classes than the data set (21 classes instead of 18; without 'sky', " in said
    assert "or give a label map: for each class the network's labels that mean it." in said


def test_a_map_of_a_class_that_is_not_there_names_the_nearest(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert distil_file(run_file(tmp_path, label_map=LABEL_MAP | {"baloon": "BALLOON"})) == 1
    assert "the label map names class 'baloon', which the data set has not; did you mean 'balloon'?" in (
        capsys.readouterr().err
    )


def test_a_layer_that_is_not_there_names_those_that_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil_file(run_file(tmp_path, label_map=LABEL_MAP, layers=["down1"])) == 2
    assert "Unknown layer of Mask2FormerForUniversalSegmentation 'down1': known are backbone0" in (
        capsys.readouterr().err
    )


def test_a_map_without_a_source_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert distil_file(run_file(tmp_path, source=None, label_map=LABEL_MAP)) == 2
    assert "teacher.label_map, teacher.allow_pickle and teacher.revision are for a network that teacher.source" in (
        capsys.readouterr().err
    )
