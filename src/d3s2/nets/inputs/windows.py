"""Square windows over pictures of any shape, for networks that take one size only.

Pictures have the window's side as their shorter one. As many windows as cover the longer one lie at equal distances
along it; where they overlap, their maps are averaged.

Source: the image processor of EoMT in transformers (arXiv 2503.19108, appendix A).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Shaped
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """Where the windows of pictures of one size lie.

    Args:
        height, width: of the pictures; the smaller of the two is the side of the windows.
    """

    height: int
    width: int

    @property
    def side(self) -> int:
        """Height and width of each window."""
        return min(self.height, self.width)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the windows begin along the longer side."""
        longer = max(self.height, self.width)
        count = math.ceil(longer / self.side)
        overlap = (count * self.side - longer) / max(1, count - 1)
        return tuple(int(index * (self.side - overlap)) for index in range(count))

    def cut(self, pictures: Shaped[Tensor, "b *c h w"]) -> Shaped[Tensor, "bn *c s s"]:
        """The windows of each picture, one picture after the other."""
        if len(self.starts) == 1:
            return pictures
        pieces = [pictures.narrow(self._axis, start, self.side) for start in self.starts]
        return torch.stack(pieces, dim=1).flatten(0, 1)

    def merge(self, maps: Shaped[Tensor, "bn c y x"]) -> Shaped[Tensor, "b c yy xx"]:
        """Maps of windows -> maps of their pictures, at the scale of the maps; overlaps are averaged."""
        if len(self.starts) == 1:
            return maps
        pieces = maps.unflatten(0, (-1, len(self.starts))).unbind(1)
        length = maps.shape[-1]
        places = [round(start * length / self.side) for start in self.starts]
        edges = sorted({0, *places, *(place + length for place in places)})
        strips = []
        for begin, end in pairwise(edges):  # no window begins or ends inside a strip
            over = [
                piece.narrow(self._axis, begin - place, end - begin)
                for piece, place in zip(pieces, places, strict=True)
                if place <= begin and end <= place + length
            ]
            strips.append(torch.stack(over).mean(dim=0))
        return torch.cat(strips, dim=self._axis)

    @property
    def _axis(self) -> int:
        return -2 if self.height > self.width else -1
