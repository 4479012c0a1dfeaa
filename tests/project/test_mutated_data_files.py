"""Damaged files of a user's data set end as a sentence, or as what the file holds. D3S2_MUTATIONS: how many in all."""

import os
from pathlib import Path

import mutated_data_files
import pytest

COUNT = int(os.environ.get("D3S2_MUTATIONS", "1000"))
SEED = 1


@pytest.mark.parametrize("decoder", ["libpng", "pillow"])
def test_damaged_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: str):
    if decoder == "pillow":
        monkeypatch.setattr("d3s2.data.files.image_files.png_decode", None)
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    every = mutated_data_files.readers(tmp_path)
    parts = sum(reader.share for reader in every)
    failures: list[str] = []
    for reader in every:
        found = mutated_data_files.tally(reader, tmp_path, round(COUNT * reader.share / parts / 2) + 1, SEED)
        failures += found.failures
        assert found.ends["named"]
    assert failures == []
