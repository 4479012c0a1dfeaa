"""Scores at the size of the real masks against a plain computation: Pillow, loops over pixels, nothing of ours."""

import numpy as np
import pytest
import torch
from PIL import Image

from d3s2.data.dataset import Entry, FileDataset, ResizedDataset
from d3s2.data.label_space import LabelSpace
from d3s2.data.settings import Resize
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.segmenter import Segmenter
from d3s2.student.native import measure_native

SIZES = ((45, 70), (64, 33), (24, 48))
WORKING = (32, 48)
NUM_CLASSES = 4


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> FileDataset:
    """Three pictures of three sizes and aspect ratios, coarse blocks of classes, some pixels ignored."""
    folder, rng, entries = tmp_path_factory.mktemp("native"), np.random.default_rng(2), []
    for number, (height, width) in enumerate(SIZES):
        coarse = rng.integers(0, NUM_CLASSES, (6, 7)).astype(np.uint8)
        mask = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)).copy()
        mask[:4, :5] = 255
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        paths = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(image).save(paths[0])
        Image.fromarray(mask).save(paths[1])
        entries.append(Entry(str(number), *paths))
    return FileDataset("native/test", LabelSpace("four", tuple("abcd"), ignored=(255,)), tuple(entries))


@pytest.fixture(scope="module")
def net() -> Segmenter:
    return new_segmenter("compact-unet", NUM_CLASSES, seed=3, width=8).eval()


def plainly_resized(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel centres, edges repeated, pixel by pixel."""
    rows, columns = logits.shape[1:]
    out = np.empty((len(logits), height, width))
    for y in range(height):
        for x in range(width):
            row = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            column = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(row), int(column)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            v, u = row - top, column - left
            out[:, y, x] = (1 - v) * ((1 - u) * logits[:, top, left] + u * logits[:, top, right])
            out[:, y, x] += v * ((1 - u) * logits[:, below, left] + u * logits[:, below, right])
    return out


def scaled_to(size: tuple[int, int], resize: Resize) -> tuple[int, int]:
    """Height and width of what the network sees."""
    if resize == "stretch":
        return WORKING
    factors = (WORKING[0] / size[0], WORKING[1] / size[1])
    factor = max(factors) if resize == "crop" else min(factors)
    return round(size[0] * factor), round(size[1] * factor)


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
def test_counts_are_those_of_a_plain_computation(source: FileDataset, net: Segmenter, resize: Resize) -> None:
    expected = np.zeros((NUM_CLASSES, NUM_CLASSES), dtype=np.int64)
    for item_id, size in zip(source.ids, SIZES, strict=True):
        height, width = scaled_to(size, resize)
        picture = Image.open(source.entry(item_id).image).resize((width, height), Image.Resampling.LANCZOS)
        with torch.no_grad():
            unit = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
            logits = net(unit).scores[0].double().numpy()
        predicted = plainly_resized(logits, *size).argmax(axis=0)
        mask = np.asarray(Image.open(source.entry(item_id).mask))
        for y in range(size[0]):
            for x in range(size[1]):
                if mask[y, x] != 255:
                    expected[mask[y, x], predicted[y, x]] += 1
    found = measure_native(net, ResizedDataset(source, WORKING, resize), device=torch.device("cpu")).confusion
    assert (found.sum(axis=1) == expected.sum(axis=1)).all()
    assert len(set(expected.argmax(axis=1))) > 0
    assert (expected.sum(axis=0) > 0).sum() > 1  # the network says more than one class
    assert np.abs(found - expected).sum() <= 4  # of 6,000 pixels: scores that are equal but for rounding
