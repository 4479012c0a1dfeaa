"""Rectified cross attention: the words of a class are seen by the pixels of that class alone.

| name   | symbol | meaning                                                              |
|--------|--------|----------------------------------------------------------------------|
| owners | -      | for each token the train id of its class, or EVERYONE, or NO_ONE        |
| bias   | M      | 0 where a cell of the latent sees a token, -infinity where it does not  |
| share  | S      | part of a cell's area that belongs to the token's class, 1 for EVERYONE's |
| query, key, value | Q, K, V | of plain attention, softmax(Q K^T / sqrt(d) + M) V          |

A cell takes the class of its nearest pixel, or each class by its share of the area: softmax(S * Q K^T / sqrt(d) + M) V
with M = 0 where S > 0, so that a class of a few pixels in a cell is not lost.

Source: FreestyleNet, arXiv 2303.14412, equation 5; shares, the layout control map of PLACE, arXiv 2403.01852, without
its learnt blend with plain attention.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

EVERYONE = -1
"""Owner of start, end and padding tokens."""
NO_ONE = -2
"""Owner of positions that only fill up a batch."""

ALIGNMENT = 8
"""Token counts are filled up to a multiple of it: what fused attention needs to read a bias without a copy."""

Rectification = Mapping[int, Tensor]
"""Number of cells of a grid -> bias [b, 1, cells, tokens]."""
Shares = Mapping[int, Tensor]
"""Number of cells of a grid -> share [b, 1, cells, tokens] in 0..1."""


def grids_of(latent_size: tuple[int, int], num_levels: int) -> tuple[tuple[int, int], ...]:
    """(height, width) of the U-Net's grids, finest first; halving rounds up, as its strided convolutions do."""
    grids = [latent_size]
    for _ in range(num_levels - 1):
        height, width = grids[-1]
        grids.append((-(-height // 2), -(-width // 2)))
    return tuple(grids)


def rectification_of(
    masks: UInt8[Tensor, "b h w"],
    owners: Int[Tensor, "b t"],
    grids: Sequence[tuple[int, int]],
    dtype: torch.dtype,
) -> Rectification:
    """The bias for each grid, made once an image; every layer and step of that grid reads the same one.

    Args:
        masks: train ids, 255 ignored: such pixels see what everyone sees.
        owners: of each token, on any device; at least one is EVERYONE, so that no pixel is blind.
        grids: (height, width) of each resolution at which the network attends.
        dtype: of the network.
    """
    biases: dict[int, Tensor] = {}
    owners = owners.to(masks.device)
    for grid in grids:
        cells = F.interpolate(masks[:, None], grid, mode="nearest").flatten(1).to(owners)
        seen = (owners[:, None, :] == cells[:, :, None]) | (owners == EVERYONE)[:, None, :]
        bias = torch.zeros(seen.shape, dtype=dtype, device=masks.device)
        biases[cells.shape[1]] = bias.masked_fill_(~seen, -torch.inf)[:, None]
    return biases


def shares_of(
    masks: UInt8[Tensor, "b h w"],
    owners: Int[Tensor, "b t"],
    grids: Sequence[tuple[int, int]],
    dtype: torch.dtype,
) -> Shares:
    """The share of each cell's area that sees a token, made once an image as `rectification_of` is; same arguments."""
    # of owners on the CPU no device is asked how many there are
    classes = owners.clamp(min=0).unique().to(masks.device)
    owners = owners.to(masks.device)
    planes = (masks[:, None] == classes[:, None, None]).float()  # (b, n, h, w)
    row = torch.searchsorted(classes, owners.clamp(min=0))
    shares: dict[int, Tensor] = {}
    for grid in grids:
        areas = F.interpolate(planes, grid, mode="area").flatten(2)  # (b, n, cells)
        share = areas.gather(1, row[:, :, None].expand(-1, -1, areas.shape[2])).transpose(1, 2)
        share = share.masked_fill((owners == EVERYONE)[:, None], 1.0).masked_fill((owners == NO_ONE)[:, None], 0.0)
        shares[areas.shape[2]] = share[:, None].to(dtype)
    return shares


def filled_up(
    text: Float[Tensor, "b t d"], owners: Int[Tensor, "b t"], num_tokens: int
) -> tuple[Float[Tensor, "b f d"], Int[Tensor, "b f"]]:
    """Text and owners with positions that no one sees, up to the next aligned count from `num_tokens`."""
    extra = -(-num_tokens // ALIGNMENT) * ALIGNMENT - text.shape[1]
    return F.pad(text, (0, 0, 0, extra)), F.pad(owners, (0, extra), value=NO_ONE)


class RectifiedAttention:
    """An attention processor of diffusers; takes `rectification` or `shares` through `cross_attention_kwargs`.

    Self-attention, and cross attention with neither, are plain.
    """

    def __init__(self) -> None:
        self.plain = AttnProcessor2_0()

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        rectification: Any = None,
        shares: Any = None,
    ) -> Tensor:
        if encoder_hidden_states is None or (rectification is None and shares is None):
            return self.plain(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        query = _heads(attn.to_q(hidden_states), attn.heads)
        key = _heads(attn.to_k(encoder_hidden_states), attn.heads)
        value = _heads(attn.to_v(encoder_hidden_states), attn.heads)
        cells = query.shape[2]
        if shares is None:
            seen = F.scaled_dot_product_attention(query, key, value, attn_mask=rectification[cells])
        else:
            seen = _weighted(query, key, value, shares[cells])
        output = attn.to_out[1](attn.to_out[0](seen.transpose(1, 2).flatten(2)))
        if attn.residual_connection:
            output = output + hidden_states
        return output / attn.rescale_output_factor


def _weighted(
    query: Float[Tensor, "b heads n d"],
    key: Float[Tensor, "b heads t d"],
    value: Float[Tensor, "b heads t d"],
    share: Float[Tensor, "b 1 n t"],
) -> Float[Tensor, "b heads n d"]:
    # fused attention adds to scores and cannot weight them; cross attention's are few
    scores = (query @ key.transpose(2, 3)).float() * (query.shape[3] ** -0.5) * share
    return scores.masked_fill(share == 0, -torch.inf).softmax(dim=3).to(value.dtype) @ value


def _heads(x: Float[Tensor, "b n c"], num_heads: int) -> Float[Tensor, "b heads n d"]:
    return x.unflatten(2, (num_heads, -1)).transpose(1, 2)
