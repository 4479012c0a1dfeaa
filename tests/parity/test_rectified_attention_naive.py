"""Rectified attention against one softmax a pixel over a list of tokens, written out in loops."""

import math

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor

from d3s2.base.train_ids import IGNORE
from d3s2.generator.stable_diffusion.rectified_attention import (
    EVERYONE,
    NO_ONE,
    RectifiedAttention,
    filled_up,
    grids_of,
    rectification_of,
    shares_of,
)

TOKENS, HEADS, CHANNELS, TEXT = 13, 2, 16, 12


@pytest.fixture(scope="module")
def attention() -> Attention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Attention(CHANNELS, TEXT, heads=HEADS, dim_head=CHANNELS // HEADS).requires_grad_(False)


def naive(attn: Attention, hidden: Tensor, text: Tensor, cells: Tensor, owners: Tensor) -> Tensor:
    output = torch.empty_like(hidden)
    size = CHANNELS // HEADS
    for item in range(len(hidden)):
        query, key, value = attn.to_q(hidden[item]), attn.to_k(text[item]), attn.to_v(text[item])
        for pixel, train in enumerate(cells[item].tolist()):
            seen = [token for token, owner in enumerate(owners[item].tolist()) if owner in (EVERYONE, train)]
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                scores = key[seen, part] @ query[pixel, part] / math.sqrt(size)
                output[item, pixel, part] = scores.softmax(0) @ value[seen, part]
    return attn.to_out[0](output)


def naive_shares(attn: Attention, hidden: Tensor, text: Tensor, masks: Tensor, owners: Tensor, side: int) -> Tensor:
    """Scores weighted by the share of a cell's side x side pixels that are of the token's class."""
    output = torch.empty_like(hidden)
    size, width = CHANNELS // HEADS, masks.shape[2] // side
    for item in range(len(hidden)):
        query, key, value = attn.to_q(hidden[item]), attn.to_k(text[item]), attn.to_v(text[item])
        for cell in range(hidden.shape[1]):
            top, left = cell // width * side, cell % width * side
            pixels = masks[item, top : top + side, left : left + side].flatten().tolist()
            share = {token: 1.0 if owner == EVERYONE else pixels.count(owner) / len(pixels)
                     for token, owner in enumerate(owners[item].tolist())}  # fmt: skip
            seen = [token for token, weight in share.items() if weight > 0]
            weights = torch.tensor([share[token] for token in seen])
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                scores = key[seen, part] @ query[cell, part] / math.sqrt(size) * weights
                output[item, cell, part] = scores.softmax(0) @ value[seen, part]
    return attn.to_out[0](output)


def drawn(height: int, width: int, scale: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(height * width)
    masks = torch.randint(0, 4, (2, height * scale, width * scale), generator=rng).to(torch.uint8)
    masks[0, 0, 0] = IGNORE
    owners = torch.randint(0, 4, (2, TOKENS), generator=rng)
    owners[:, [0, -1]] = EVERYONE
    owners[1, 5] = NO_ONE
    hidden = torch.randn(2, height * width, CHANNELS, generator=rng)
    return masks, owners, hidden, torch.randn(2, TOKENS, TEXT, generator=rng)


@pytest.mark.parametrize("size", [(4, 4), (3, 7), (9, 2), (1, 1)])
def test_equals_a_loop_over_classes_and_pixels(attention: Attention, size: tuple[int, int]) -> None:
    masks, owners, hidden, text = drawn(*size)
    bias = rectification_of(masks, owners, [size], torch.float32)
    found = RectifiedAttention()(attention, hidden, text, rectification=bias)
    expected = naive(attention, hidden, text, masks.flatten(1), owners)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_filling_up_changes_nothing(attention: Attention) -> None:
    masks, owners, hidden, text = drawn(4, 5)
    wide, wide_owners = filled_up(text, owners, TOKENS)
    assert wide.shape[1] == 16
    bias = rectification_of(masks, wide_owners, [(4, 5)], torch.float32)
    found = RectifiedAttention()(attention, hidden, wide, rectification=bias)
    expected = naive(attention, hidden, text, masks.flatten(1), owners)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_mask_of_one_class_equals_plain_attention(attention: Attention) -> None:
    _, owners, hidden, text = drawn(4, 5)
    masks = torch.full((2, 4, 5), 3, dtype=torch.uint8)
    owners = torch.where(owners == EVERYONE, EVERYONE, 3)
    bias = rectification_of(masks, owners, [(4, 5)], torch.float32)
    found = RectifiedAttention()(attention, hidden, text, rectification=bias)
    torch.testing.assert_close(found, AttnProcessor2_0()(attention, hidden, text), rtol=1e-5, atol=1e-5)


def test_self_attention_and_no_rectification_are_plain() -> None:
    own = Attention(CHANNELS, heads=HEADS, dim_head=CHANNELS // HEADS)
    hidden = torch.randn(1, 20, CHANNELS)
    assert torch.equal(RectifiedAttention()(own, hidden, rectification={}), AttnProcessor2_0()(own, hidden))
    assert torch.equal(RectifiedAttention()(own, hidden, hidden), AttnProcessor2_0()(own, hidden, hidden))


def test_grids_are_nearest_samples_of_the_mask(attention: Attention) -> None:
    masks, owners, hidden, text = drawn(3, 4, scale=8)
    grids = grids_of((3, 4), 2)
    assert grids == ((3, 4), (2, 2))
    biases = rectification_of(masks, owners, grids, torch.float32)
    assert {cells: tuple(bias.shape) for cells, bias in biases.items()} == {
        12: (2, 1, 12, TOKENS),
        4: (2, 1, 4, TOKENS),
    }
    found = RectifiedAttention()(attention, hidden, text, rectification=biases)
    expected = naive(attention, hidden, text, masks[:, ::8, ::8].flatten(1), owners)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [1, 4])
def test_shares_equal_a_loop_over_cells_and_their_pixels(attention: Attention, side: int) -> None:
    masks, owners, hidden, text = drawn(3, 5, scale=side)
    shares = shares_of(masks, owners, [(3, 5)], torch.float32)
    found = RectifiedAttention()(attention, hidden, text, shares=shares)
    torch.testing.assert_close(found, naive_shares(attention, hidden, text, masks, owners, side), rtol=1e-5, atol=1e-5)


def test_shares_of_cells_of_one_class_and_of_coarser_grids() -> None:
    masks, owners, _, _ = drawn(3, 4, scale=8)
    shares = shares_of(masks, owners, grids_of((3, 4), 2), torch.float32)
    assert {cells: tuple(share.shape) for cells, share in shares.items()} == {
        12: (2, 1, 12, TOKENS),
        4: (2, 1, 4, TOKENS),
    }
    whole = torch.full((1, 8, 8), 2, dtype=torch.uint8)
    of_one = shares_of(whole, torch.tensor([[EVERYONE, 2, 1, NO_ONE]]), [(2, 2)], torch.float32)
    assert of_one[4][0, 0].tolist() == [[1.0, 1.0, 0.0, 0.0]] * 4
