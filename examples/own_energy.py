"""An energy of one's own: what the teacher sees should change only where the mask does.

    PYTHONPATH=examples d3s2 distill scenes 'synthesize.guidance.energies={segmentation: 1, "own_energy:edges": 0.2}'

An energy is a function of what the teacher sees in a batch of images, their masks, and the bank of real statistics: one
number an item, lower is better, differentiable by `seen`.
"""

from torch import Tensor

from d3s2.nets import Segmentation
from d3s2.teacher import FeatureBank


def edges(seen: Segmentation, masks: Tensor, bank: FeatureBank) -> Tensor:
    """How much the class probabilities of neighbouring pixels differ where both have one class in the mask."""
    probabilities = seen.scores.float().softmax(dim=1)  # (b, c, h, w)
    jumps = (probabilities[..., 1:] - probabilities[..., :-1]).abs().sum(dim=1)
    inside = masks[..., 1:] == masks[..., :-1]  # (b, h, w - 1)
    return (jumps * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
