"""Our padding against torch's, values and gradient."""

import pytest
import torch
from torch.nn import functional as F

from d3s2.nets.inputs.padding import edge_padded


@pytest.mark.parametrize("widths", [(0, 0, 0, 0), (2, 0, 0, 3), (4, 4, 4, 4), (0, 9, 1, 0)])
def test_edges_are_continued_as_torch_does(widths: tuple[int, int, int, int]) -> None:
    left, right, top, bottom = widths
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 5, 7, generator=rng, requires_grad=True)
    ours = edge_padded(images, left=left, right=right, top=top, bottom=bottom)
    theirs = F.pad(images, widths, mode="replicate")
    assert torch.equal(ours, theirs)
    slope = torch.randn(ours.shape, generator=rng)
    by_ours, by_theirs = (torch.autograd.grad(padded, images, slope)[0] for padded in (ours, theirs))
    torch.testing.assert_close(by_ours, by_theirs)
