from pathlib import Path

import numpy as np
import torch
from PIL import Image

from d3s2.data.dataset import Entry, FileDataset, ResizedDataset
from d3s2.data.label_space import LabelSpace
from d3s2.data.pairs import load_pairs, open_pairs


def test_masks_are_read_without_their_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).save(tmp_path / f"{name}.jpg")
        Image.fromarray(rng.integers(0, 2, (6, 8), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    entries = tuple(Entry(name, tmp_path / f"{name}.jpg", tmp_path / f"{name}.png") for name in "ab")
    dataset = ResizedDataset(FileDataset("two", LabelSpace("two", ("a", "b")), entries), (3, 4))
    expected = load_pairs(dataset, ("b", "a")).masks
    for entry in entries:
        entry.image.unlink()
    assert torch.equal(open_pairs(dataset, ("b", "a")).take_masks(range(2)), expected)
