"""Square windows along the longer side."""

import pytest
import torch

from d3s2.nets.inputs.windows import Windows

SIZES = ((8, 8), (8, 13), (13, 8), (8, 16), (5, 23))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_windows_cover_the_picture_and_merge_to_it_again(height: int, width: int) -> None:
    windows = Windows(height, width)
    pictures = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    cut = windows.cut(pictures)
    assert cut.shape == (2 * len(windows.starts), 3, windows.side, windows.side)
    assert windows.starts[-1] + windows.side == max(height, width)
    torch.testing.assert_close(windows.merge(cut), pictures)


def test_masks_are_cut_at_the_same_places() -> None:
    windows = Windows(4, 10)
    masks = torch.arange(10, dtype=torch.uint8).expand(1, 4, 10)
    assert [cut[0].tolist() for cut in windows.cut(masks)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_overlaps_are_averaged_at_the_scale_of_the_maps() -> None:
    windows = Windows(32, 48)  # two windows, half of each overlaps
    maps = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 1, 2, 2)
    assert windows.merge(maps)[0, 0].tolist() == [[0.0, 0.5, 1.0]] * 2
