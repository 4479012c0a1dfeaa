"""Scores against transformers: its image processors before, its post-processing after."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import CLASS_NAMES, KINDS, TASK_LENGTH, WINDOW_PX, WINDOWED, save_tiny, tiny_processor
from torch import Tensor
from transformers import CLIPTokenizer, OneFormerProcessor
from transformers.image_utils import SizeDict

from d3s2.nets.inputs.preprocessing import Preprocessing
from d3s2.nets.loading import load_segmenter

CPU = torch.device("cpu")
SIZES = ((64, 96), (45, 70))
BY_PIXEL = ("linear_head", "segformer", "upernet")  # their scores are logits, those of the others a mass of queries
DIVISORS = {"linear_head": 16, "mask2former": 32, "maskformer": 32}


def seen_by_transformers(kind: str, images: Tensor, folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """Preprocessed images as the network of transformers takes them, and what else it and its post-processing take."""
    if kind in WINDOWED:
        # transformers' own cutting, of images that are resized already
        pixels = Preprocessing(window_px=WINDOW_PX)(images)
        pieces, offsets = tiny_processor(kind)._preprocess(
            list(pixels.numpy()), size=SizeDict(shortest_edge=WINDOW_PX), do_split_image=True, do_resize=False,
            resample=None, do_rescale=False, rescale_factor=1.0, do_normalize=False, do_pad=False, image_mean=None,
            image_std=None,
        )  # fmt: skip
        return torch.from_numpy(np.stack(pieces)), {"patch_offsets": offsets}
    extra = {}
    if kind == "oneformer":
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        own = OneFormerProcessor(tiny_processor(kind), tokenizer, task_seq_length=TASK_LENGTH)
        extra["task_inputs"] = own._preprocess_text(["the task is semantic"] * len(images), max_length=TASK_LENGTH)
    return Preprocessing(divisor=DIVISORS.get(kind, 1))(images), extra


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_argmax_and_distribution_equal_transformers_post_processing(
    kind: str, size: tuple[int, int], tmp_path: Path
) -> None:
    network, processor = save_tiny(kind, tmp_path), tiny_processor(kind)
    segmenter = load_segmenter(tmp_path, CLASS_NAMES, device=CPU)
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(5))
    pixels, extra = seen_by_transformers(kind, images, tmp_path)
    with torch.no_grad():
        seen = segmenter(images).scores
        output = network(pixels, **extra)
    theirs = processor.post_process_semantic_segmentation(
        output, target_sizes=[size, size], return_segmentation_scores=True
    )
    assert len(seen.argmax(dim=1).unique()) > 1
    for scores, expected in zip(seen, theirs, strict=True):
        assert torch.equal(scores.argmax(dim=0), expected["segmentation"])
        mass = expected["segmentation_scores"]
        wanted = mass.softmax(dim=0) if kind in BY_PIXEL else mass / mass.sum(dim=0)
        torch.testing.assert_close(scores.softmax(dim=0), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WINDOWED])
def test_preprocessing_equals_the_image_processor(kind: str) -> None:
    processor = tiny_processor(kind)
    image = np.random.default_rng(2).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    size = {"size": {"height": 58, "width": 90}}
    task = {"task_inputs": ["semantic"]} if kind == "oneformer" else {}
    theirs = processor(image, return_tensors="pt", **size, **task)["pixel_values"]
    divisor = getattr(processor, "size_divisor", 1)
    ours = Preprocessing(divisor=divisor, size_px=(58, 90))(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)
    assert ours.shape == theirs.shape
    # theirs is rounded to 8 bits after resizing: twice half a level of 255 (rows, columns), over the deviation
    torch.testing.assert_close(ours, theirs, atol=1.01 / 255 / 0.224, rtol=0)
