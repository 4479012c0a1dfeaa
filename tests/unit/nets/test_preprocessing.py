"""Resizing and normalisation."""

from pathlib import Path

import pytest
import torch

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import write_json
from d3s2.nets.inputs.preprocessing import Preprocessing, read_preprocessing, write_preprocessing


@pytest.mark.parametrize(
    ("divisor", "size_px", "seen"),
    [(1, None, (45, 70)), (32, None, (64, 96)), (1, 90, (90, 140)), (32, 64, (64, 128)), (8, (30, 40), (32, 40))],
)
def test_the_network_sees_the_chosen_size_stretched_to_the_divisor(
    divisor: int, size_px: int | tuple[int, int] | None, seen: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(divisor=divisor, size_px=size_px)
    assert preprocessing.input_px(45, 70) == seen
    assert preprocessing(torch.rand(1, 3, 45, 70)).shape[-2:] == seen


def test_mean_and_deviation_bring_a_colour_to_its_place() -> None:
    preprocessing = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    seen = preprocessing(torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(seen[0, :, 0, 0], torch.tensor([1.0, 3.0, 0.5]))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    written = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), divisor=16)
    write_preprocessing(tmp_path, written, "SegformerImageProcessor")
    assert read_preprocessing(tmp_path, divisor=1, size_px=None) == written


@pytest.mark.parametrize("content", [None, {"image_mean": [0.5] * 3}, {"image_mean": [0.5], "image_std": [0.5]}, []])
def test_a_network_without_its_normalisation_is_refused(tmp_path: Path, content: object) -> None:
    if content is not None:
        write_json(tmp_path / "preprocessor_config.json", content)
    with pytest.raises(ModelError, match=r"names no image_mean and image_std of three numbers"):
        read_preprocessing(tmp_path, divisor=1, size_px=None)
