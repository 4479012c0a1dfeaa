"""How a set of images stands to the real data, from one feature vector an image.

| name         | symbol   | meaning                                                                          |
|--------------|----------|----------------------------------------------------------------------------------|
| real         | X_i      | vectors of the N real images                                                     |
| others       | Y_j      | vectors of the M images that are judged                                          |
| nearest      | d_1(X_i) | distance from a real image to the nearest other real image                        |
| radius       | d_k(X_i) | distance to the k-th nearest other real image; B_i is the ball of this radius     |
| density      |          | 1/(kM) sum over j of the number of balls B_i that hold Y_j                        |
| coverage     |          | share of the balls B_i that hold at least one Y_j                                 |
| ratio        |          | distance from Y_j to its nearest real image X_i, over d_1(X_i)                    |
| authenticity |          | share of the Y_j whose ratio is at least 1                                        |
| vendi        | VS       | exp of the entropy of the eigenvalues of K / M, K_jl the cosine of Y_j and Y_l    |

Distances are Euclidean. Real images are compared in blocks, so that memory grows with N and never with its square.

Source: density and coverage, arXiv 2002.09797; authenticity, arXiv 2102.08921; Vendi score, arXiv 2210.02410.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from d3s2.base.errors import UsageError
from d3s2.base.machine.moving import to_host

NUM_NEIGHBOURS = 5
BLOCK = 1024
SMALLEST = 1e-12


@dataclass(frozen=True)
class RealSpread:
    """Real images, and how far each is from the others."""

    features: Float[Tensor, "n d"]
    nearest: Float[Tensor, " n"]
    radius: Float[Tensor, " n"]
    num_neighbours: int


@dataclass(frozen=True)
class Likeness:
    """Images against real ones; its tensors lie on the CPU.

    Args:
        nearest: position of the nearest real image of each.
        distance: to it.
        ratio: `distance` over the distance of that real image to the nearest other real one; 0 is a copy.
        density, coverage: of the whole set; coverage in 0..1.
    """

    nearest: Int64[Tensor, " m"]
    distance: Float[Tensor, " m"]
    ratio: Float[Tensor, " m"]
    density: float
    coverage: float

    @property
    def authenticity(self) -> float:
        """Share of the images that no real image has closer to it than its own nearest real neighbour is, 0..1."""
        return float((self.ratio >= 1).float().mean())


def spread_of(real: Float[Tensor, "n d"], num_neighbours: int = NUM_NEIGHBOURS) -> RealSpread:
    """Distances among real images.

    Args:
        num_neighbours: k above; fewer where there are not so many other images.

    Raises:
        UsageError: fewer than two images, which have no neighbours.
    """
    if len(real) < 2:
        raise UsageError(f"Neighbours need at least two real images, got {len(real)}; give more of the data.")
    k = min(num_neighbours, len(real) - 1)
    smallest = []
    for start in range(0, len(real), BLOCK):
        distances = torch.cdist(real[start : start + BLOCK], real)
        rows = torch.arange(len(distances), device=real.device)
        distances[rows, start + rows] = torch.inf
        smallest.append(distances.topk(k, largest=False).values)
    ordered = torch.cat(smallest)
    return RealSpread(real, ordered[:, 0], ordered[:, -1], k)


def compare(spread: RealSpread, others: Float[Tensor, "m d"]) -> Likeness:
    """Nearest real image of each of the others, density and coverage."""
    nearest = torch.zeros(len(others), dtype=torch.long, device=others.device)
    distance = torch.full((len(others),), torch.inf, device=others.device)
    held, covered = (torch.zeros((), dtype=torch.long, device=others.device) for _ in range(2))
    for start in range(0, len(spread.features), BLOCK):
        distances = torch.cdist(others, spread.features[start : start + BLOCK])
        inside = distances <= spread.radius[start : start + BLOCK]
        held, covered = held + inside.sum(), covered + inside.any(dim=0).sum()
        here = distances.min(dim=1)
        nearest = torch.where(here.values < distance, start + here.indices, nearest)
        distance = torch.minimum(distance, here.values)
    # The product form of a distance loses digits near 0, which is where copies are.
    distance = (others - spread.features[nearest]).norm(dim=1)
    ratio = distance / spread.nearest[nearest].clamp(min=SMALLEST)
    num_held, num_covered = to_host(torch.stack([held, covered])).tolist()
    return Likeness(
        nearest=to_host(nearest),
        distance=to_host(distance),
        ratio=to_host(ratio),
        density=num_held / (spread.num_neighbours * len(others)),
        coverage=num_covered / len(spread.features),
    )


def vendi_score(features: Float[Tensor, "m d"]) -> float:
    """How many images that have nothing in common the set is worth, 1..m: m copies of one image are worth 1."""
    directions = torch.nn.functional.normalize(features.double(), dim=1)
    shares = torch.linalg.eigvalsh(directions @ directions.T / len(directions)).clamp(min=0)
    return float(to_host(torch.exp(torch.special.entr(shares).sum())))
