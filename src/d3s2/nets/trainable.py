"""The contract of a network that learns, and the two rules that all of them share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from d3s2.base.train_ids import IGNORE

BACKBONE_LR_SHARE = 0.1
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
EMBEDDING_WORDS = ("relative_position_bias", "position_embed", "level_embed")


@dataclass(frozen=True)
class SoftTargets:
    """What a batch teaches beside its masks.

    Args:
        probabilities: of each class at each pixel; sum to one over c.
        weight: share of the loss, above 0 and at most 1; the masks have the rest.
    """

    probabilities: Float[Tensor, "b c h w"]
    weight: float


@runtime_checkable
class Trainable(Protocol):
    """A `Segmenter` that says what its loss is and how fast each of its parts learns."""

    def loss(
        self, images: Float[Tensor, "b 3 h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets | None = None
    ) -> Float[Tensor, ""]:
        """The training loss of RGB images in 0..1 on masks of train ids; pixels of 255 have no part in it.

        With `soft`, (1 - weight) of it and weight times the cross entropy of the scores with the distributions.

        Draws (dropout, sampled points) come from torch's default generator: fork and seed it around the call.
        """

    def parameter_groups(
        self, lr: float, weight_decay: float, backbone_share: float = BACKBONE_LR_SHARE
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser: the backbone at `backbone_share` of `lr`, no decay on norms and embeddings."""


def mean_cross_entropy(scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Cross entropy in float32, averaged over the pixels that are not 255; 0 where all of them are."""
    total = F.cross_entropy(scores.float(), masks.long(), ignore_index=IGNORE, reduction="sum")
    return total / (masks != IGNORE).sum().clamp(min=1)


def mean_soft_cross_entropy(
    scores: Float[Tensor, "b c h w"], probabilities: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Cross entropy with a distribution, in float32, averaged over the pixels that are not 255 in the masks."""
    losses = F.cross_entropy(scores.float(), probabilities.float(), reduction="none")
    counted = masks != IGNORE
    return losses.where(counted, 0).sum() / counted.sum().clamp(min=1)


def pixel_loss(
    scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets | None = None
) -> Float[Tensor, ""]:
    """`mean_cross_entropy`, mixed with that on soft labels where there are any: both by one softmax of the scores."""
    if soft is None:
        return mean_cross_entropy(scores, masks)
    logs = F.log_softmax(scores.float(), dim=1)
    counted = masks != IGNORE
    hard = F.nll_loss(logs, masks.long(), ignore_index=IGNORE, reduction="sum")
    by_cell = -(logs * soft.probabilities.float()).sum(dim=1).where(counted, 0).sum()
    return ((1 - soft.weight) * hard + soft.weight * by_cell) / counted.sum().clamp(min=1)


def with_soft(
    hard: Float[Tensor, ""], scores: Float[Tensor, "b c h w"], masks: UInt8[Tensor, "b h w"], soft: SoftTargets
) -> Float[Tensor, ""]:
    """The loss on the masks mixed with that on soft labels."""
    return (1 - soft.weight) * hard + soft.weight * mean_soft_cross_entropy(scores, soft.probabilities, masks)


def group_parameters(
    network: nn.Module,
    lr: float,
    weight_decay: float,
    backbone: str | tuple[str, ...] | None = None,
    backbone_share: float = BACKBONE_LR_SHARE,
) -> list[dict[str, Any]]:
    """Groups for an optimiser.

    Args:
        backbone: dotted names of the parts that learn at `backbone_share` of `lr`. None: everything learns alike.

    Source: the training recipe of Mask2Former (arXiv 2112.01527).
    """
    groups: dict[str, dict[str, Any]] = {}
    parts = () if backbone is None else (backbone,) if isinstance(backbone, str) else backbone
    for name, parameter, plain in _parameters(network):
        inside = name.startswith(tuple(f"{part}." for part in parts))
        key = f"{'backbone' if inside else 'head'}{'' if plain else ' without decay'}"
        rate = lr * backbone_share if inside else lr
        group = groups.setdefault(
            key, {"name": key, "params": [], "lr": rate, "weight_decay": weight_decay if plain else 0.0}
        )
        group["params"].append(parameter)
    return list(groups.values())


def _parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """Each parameter once: its dotted name, itself, and whether weight decay is for it."""
    seen: set[int] = set()
    for prefix, module in network.named_modules():
        special = isinstance(module, (*NORMS, nn.Embedding))
        for own, parameter in module.named_parameters(recurse=False):
            name = f"{prefix}.{own}" if prefix else own
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter, not (special or any(word in own for word in EMBEDDING_WORDS))
