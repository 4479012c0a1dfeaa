"""Finished images, and what the teacher says of them: energies, the filtered mask, soft labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from d3s2.base.finite import not_finite
from d3s2.base.machine.moving import to_host
from d3s2.base.pixels import finite_to_bytes, to_unit
from d3s2.nets import Segmenter
from d3s2.store.soft import SoftLabels, soften
from d3s2.synthesis.settings import SoftSettings, SynthesizeSettings
from d3s2.synthesis.trace import rounded
from d3s2.teacher import FeatureBank, agreement, energies_of, without_doubtful


@dataclass(frozen=True)
class SampledItem:
    """One finished image and what the teacher says of it.

    Args:
        mask: that it was made for, 255 where the filter takes pixels away.
        soft: the teacher's distribution; None where it was not asked for.
        candidate: position of its noise among those of its mask, from 0.
        energies: against the mask, by name; infinite where the image or an energy is not finite.
        accuracy: share of the mask's scored pixels where the teacher sees the mask's class.
    """

    image: UInt8[np.ndarray, "h w 3"]
    mask: UInt8[np.ndarray, "h w"]
    soft: SoftLabels | None
    candidate: int
    energies: dict[str, float]
    accuracy: float

    @property
    def is_finite(self) -> bool:
        """Whether the image and its energies are numbers."""
        return all(np.isfinite(value) for value in self.energies.values())


@torch.no_grad()
def finished(
    images: Float[Tensor, "b 3 h w"],
    masks: UInt8[Tensor, "b h w"],
    candidates: Sequence[int],
    teacher: Segmenter,
    bank: FeatureBank,
    settings: SynthesizeSettings,
) -> tuple[SampledItem, ...]:
    """The images as they are stored, rounded to bytes, as the teacher sees them: it reads them once."""
    broken = not_finite(images)
    stored = finite_to_bytes(torch.where(broken[:, None, None, None], 0.0, images))
    seen = teacher(to_unit(stored))
    found = energies_of(settings.guidance.energies, seen, masks, bank)
    for values in found.values():
        broken = broken | ~torch.isfinite(values)
    energies = {name: rounded(torch.where(broken, torch.inf, values)) for name, values in found.items()}
    tau = settings.filter
    kept = masks if tau is None else without_doubtful(masks, seen.scores, bank.losses, tau)
    accuracy = rounded(agreement(seen.scores, masks))
    pictures, labels, unsound = (to_host(table) for table in (stored.permute(0, 2, 3, 1), kept, broken))
    return tuple(
        SampledItem(
            image=np.ascontiguousarray(pictures[index].numpy()),
            mask=labels[index].numpy(),
            soft=None if unsound[index] or settings.soft is None else soft_labels(seen.scores[index], settings.soft),
            candidate=candidate,
            energies={name: values[index] for name, values in energies.items()},
            accuracy=accuracy[index],
        )
        for index, candidate in enumerate(candidates)
    )


def soft_labels(logits: Float[Tensor, "c h w"], settings: SoftSettings) -> SoftLabels:
    """The teacher's distribution on an image, from its logits, as it is stored."""
    return soften(logits.float().softmax(dim=0), settings.num_top, settings.cell_px)
