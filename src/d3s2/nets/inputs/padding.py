"""Padding with the nearest pixel."""

import torch
from jaxtyping import Float
from torch import Tensor


def edge_padded(
    images: Float[Tensor, "b c h w"], *, left: int = 0, right: int = 0, top: int = 0, bottom: int = 0
) -> Float[Tensor, "b c hh ww"]:
    """What `F.pad(mode="replicate")` gives; its gradient is the same each time on a GPU, where that one's is not."""
    wide = torch.cat(
        [images[..., :1].expand(-1, -1, -1, left), images, images[..., -1:].expand(-1, -1, -1, right)], dim=-1
    )
    return torch.cat(
        [wide[..., :1, :].expand(-1, -1, top, -1), wide, wide[..., -1:, :].expand(-1, -1, bottom, -1)], dim=-2
    )
