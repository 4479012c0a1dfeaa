"""Scores against transformers: its image processors before, its post-processing after."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_networks import CLASS_NAMES, KINDS, save_tiny, tiny_processor

from d3s2.nets.loading import load_segmenter
from d3s2.nets.preprocessing import Preprocessing

CPU = torch.device("cpu")
SIZES = ((64, 96), (45, 70))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_argmax_and_distribution_equal_transformers_post_processing(
    kind: str, size: tuple[int, int], tmp_path: Path
) -> None:
    network, processor = save_tiny(kind, tmp_path), tiny_processor(kind)
    segmenter = load_segmenter(tmp_path, CLASS_NAMES, device=CPU)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(5))
    divisor = 32 if "former" in kind and kind != "segformer" else 1
    with torch.no_grad():
        seen = segmenter(images).scores
        output = network(Preprocessing(divisor=divisor)(images))
    theirs = processor.post_process_semantic_segmentation(
        output, target_sizes=[size, size], return_segmentation_scores=True
    )
    assert len(seen.argmax(dim=1).unique()) > 1
    for scores, expected in zip(seen, theirs, strict=True):
        assert torch.equal(scores.argmax(dim=0), expected["segmentation"])
        mass = expected["segmentation_scores"]
        wanted = mass.softmax(dim=0) if kind in ("segformer", "upernet") else mass / mass.sum(dim=0)
        torch.testing.assert_close(scores.softmax(dim=0), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_preprocessing_equals_the_image_processor(kind: str) -> None:
    processor = tiny_processor(kind)
    image = np.random.default_rng(2).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    size = {"size": {"height": 58, "width": 90}}
    theirs = processor(image, return_tensors="pt", **size)["pixel_values"]
    divisor = getattr(processor, "size_divisor", 1)
    ours = Preprocessing(divisor=divisor, size_px=(58, 90))(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert ours.shape == theirs.shape
    # theirs is rounded to 8 bits after resizing: twice half a level of 255 (rows, columns), over the deviation
    torch.testing.assert_close(ours, theirs, atol=1.01 / 255 / 0.224, rtol=0)
