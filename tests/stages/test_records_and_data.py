"""Students are scored on the data that is there now, and their records are taken for no others."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_data_elsewhere import evaluate
from tiny_layouts import write_ade20k

from d3s2.data.catalogue import open_split
from d3s2.pipeline.run import read_config


def pixels_of(out: Path) -> list[int]:
    """Pixels of each class in the test split of a run, as it is now."""
    data = read_config(out).data
    split = open_split(data, data.test)
    masks = np.stack([split.mask(item_id) for item_id in split.ids])
    return [int((masks == train).sum()) for train in range(split.space.num_classes)]


def scored(out: Path) -> list[list[int]]:
    records = [json.loads(path.read_text()) for path in sorted((out / "students").glob("*.json"))]
    return [np.array(record["confusion"]).sum(axis=1).tolist() for record in records]


def test_two_evaluations_in_one_process_score_on_their_own_test_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, first, second = write_ade20k(tmp_path / "data"), tmp_path / "first", tmp_path / "second"
    assert evaluate(data, first) == 0
    before = pixels_of(first)
    assert scored(first) == [before] * 2
    for path in data.rglob("annotations/validation/*.png"):
        mask = np.array(Image.open(path))
        Image.fromarray(1 + (mask + 6) % 150).save(path)
    assert evaluate(data, second) == 0
    assert pixels_of(second) != before
    assert scored(second) == [pixels_of(second)] * 2

    one, other = sorted((second / "students").glob("*.json"))
    one.write_bytes(other.read_bytes())
    assert evaluate(data, second) == 1
    said = capsys.readouterr().err
    assert f"{one}: is the record of another student than was asked for (other pairs, set)" in said
