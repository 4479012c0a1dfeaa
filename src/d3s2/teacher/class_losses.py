"""How hard each class is for the teacher on real images, and the pixels of an image that are harder than that allows.

| name       | symbol  | meaning                                                               |
|------------|---------|-----------------------------------------------------------------------|
| pixel_loss | l[h, w] | cross entropy between the teacher's scores and the mask at a pixel      |
| mean       | m[c]    | mean of l over all pixels of class c in the real data                   |
| tau        | tau     | a pixel of class c is taken out of the label where l > tau m[c]         |

Source: the filtering of noisy synthetic regions in FreeMask (arXiv 2310.15160), which takes tau = 1.25.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.machine.moving import to_host
from d3s2.base.train_ids import IGNORE


def pixel_losses(scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Cross entropy of each pixel in nats; 0 where it is ignored."""
    return F.cross_entropy(scores.float(), masks.long(), ignore_index=IGNORE, reduction="none")


@dataclass(frozen=True)
class LossSums:
    """Sum of pixel losses and number of pixels, by class; sums of two halves add up to those of the whole."""

    total: Float64[Tensor, " c"]
    pixels: Float64[Tensor, " c"]

    @classmethod
    def empty(cls, num_classes: int) -> "LossSums":
        """Nothing seen."""
        zeros = torch.zeros(num_classes, dtype=torch.float64)
        return cls(zeros, zeros.clone())

    def seen(self, scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]) -> "LossSums":
        """These and those of one more batch."""
        # On the CPU: adding up by class has no fixed order on a GPU.
        losses, classes = to_host(pixel_losses(scores, masks)).double().flatten(), to_host(masks).long().flatten()
        total = torch.bincount(classes, weights=losses, minlength=IGNORE + 1)[: len(self.total)]
        pixels = torch.bincount(classes, minlength=IGNORE + 1)[: len(self.total)]
        return LossSums(self.total + total, self.pixels + pixels)

    def merge(self, other: "LossSums") -> "LossSums":
        """These and those of other batches."""
        return LossSums(self.total + other.total, self.pixels + other.pixels)

    def means(self) -> Float[Tensor, " c"]:
        """m above; NaN for a class without a pixel."""
        return (self.total / self.pixels).float()


def without_doubtful(
    masks: UInt8[Tensor, "b h w"],
    scores: Float[Tensor, "b c h w"],
    means: Float[Tensor, " c"],
    tau: float,
) -> UInt8[Tensor, "b h w"]:
    """The masks with 255 where the teacher's loss exceeds `tau` times what is usual for the class on real images.

    Args:
        scores: of the teacher, for the images that belong to the masks.
        means: m above; a class that the real data never showed (NaN) has no measure to pass by and loses all its
            pixels, as in FreeMask, whose mean of nothing is 0.
        tau: above 0; smaller takes more away.

    Examples:
        >>> import torch
        >>> from d3s2.teacher import without_doubtful
        >>> scores = torch.tensor([[[[4.0, -4.0]], [[-4.0, 4.0]]]])
        >>> masks = torch.zeros(1, 1, 2, dtype=torch.uint8)
        >>> without_doubtful(masks, scores, torch.tensor([0.5, 0.5]), tau=1.25).tolist()
        [[[0, 255]]]
    """
    limits = torch.full((IGNORE + 1,), torch.inf, device=masks.device)
    limits[: len(means)] = torch.nan_to_num(tau * means, nan=-torch.inf)
    return torch.where(pixel_losses(scores, masks) > limits[masks.long()], IGNORE, masks).to(torch.uint8)
