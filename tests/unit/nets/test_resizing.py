"""Resizing as products of matrices is torch's own bilinear resizing, forwards and backwards."""

import pytest
import torch
from torch.nn import functional as F

from d3s2.nets.inputs.resizing import by_matrices, resized

SIZES = [((12, 20), (48, 80)), ((31, 17), (64, 33)), ((64, 48), (23, 48)), ((9, 9), (9, 4)), ((1, 5), (3, 1))]


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_matrices_do_what_interpolate_does(before: tuple[int, int], after: tuple[int, int], antialias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *before, generator=generator, dtype=torch.float64, requires_grad=True)
    pulled = torch.randn(2, 3, *after, generator=generator, dtype=torch.float64)

    expected = F.interpolate(images, size=after, mode="bilinear", align_corners=False, antialias=antialias)
    found = by_matrices(images, after, antialias=antialias)

    torch.testing.assert_close(found, expected)
    (by_interpolate,) = torch.autograd.grad(expected, images, pulled)
    (by_products,) = torch.autograd.grad(found, images, pulled)
    torch.testing.assert_close(by_products, by_interpolate)
    torch.testing.assert_close(resized(images, after, antialias=antialias), expected)


def test_an_image_of_that_size_is_returned_as_it_is() -> None:
    images = torch.rand(1, 3, 4, 5)
    assert resized(images, (4, 5)) is images
