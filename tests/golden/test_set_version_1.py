"""A distilled set of format version 1 is read, verified, exported and trained on.

`set_version_1` was made at commit 2acf4b4, the last one that wrote that version, by `d3s2 distill scenes` with the
words of `tests/tiny_run.py` as they were then.
"""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_run import TINY, call

from d3s2.results.records import read_results
from d3s2.store.exporting import export
from d3s2.store.reader import DistilledSet
from d3s2.store.verification import verify

FOLDER = Path(__file__).parent / "set_version_1"


def test_its_two_energies_stand_in_the_map_by_name() -> None:
    distilled = DistilledSet(FOLDER)
    assert distilled.manifest["format_version"] == 1
    stored = pq.read_table(FOLDER / "items.parquet").to_pylist()
    for item, row in zip(distilled.items, stored, strict=True):
        assert item.energies_before == {"segmentation": row["l_seg_before"], "features": row["l_feat_before"]}
        assert item.energies_after == {"segmentation": row["l_seg_after"], "features": row["l_feat_after"]}
    assert distilled.image(distilled.ids[0]).shape == (32, 48, 3)


def test_it_is_sound() -> None:
    found = verify(FOLDER)
    assert found.sound, found.problems
    assert found.num_items == 5


@pytest.mark.parametrize("format_", ["hf", "ade20k"])
def test_it_is_exported(tmp_path: Path, format_: str) -> None:
    assert [*export(FOLDER, tmp_path / "out", format_).rglob("*.p*")]


def test_students_learn_from_it(tmp_path: Path) -> None:
    words = [f"evaluate.sets=[random, {FOLDER}]", "evaluate.seeds=1", "synthesize.unguided_too=false"]
    assert call("evaluate", "scenes", *TINY, *words, "--out", str(tmp_path / "run"), "--device", "cpu") == 0
    sets = read_results(tmp_path / "run" / "results.json").sets
    assert [(one.name, one.items) for one in sets] == [("random", 5), (str(FOLDER), 5)]
