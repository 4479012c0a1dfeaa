"""The feature bank: what the teacher makes of the real data: per class, statistics of its features and its mean loss.

| name   | symbol     | meaning                                                        |
|--------|------------|----------------------------------------------------------------|
| weight | n[l, c]    | cells of class c seen so far (fractions count)                  |
| mean   | mu[l, c]   | running mean                                                    |
| m2     | M2[l, c]   | running sum of squared deviations; sd = sqrt(M2 / n)             |

Batches are merged with the pairwise update, in float64: no cancellation, and any order gives the same to rounding.
Source: Chan, Golub, LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.errors import ModelError
from d3s2.base.formats.files import write_bytes
from d3s2.base.formats.json_text import MAKE_AGAIN
from d3s2.base.formats.tensors import read_tensors, require, tensors_bytes
from d3s2.base.machine.moving import to_host
from d3s2.base.names import did_you_mean
from d3s2.nets import Segmenter
from d3s2.teacher.class_losses import LossSums
from d3s2.teacher.losses import class_shares

KINDS = ("mean", "std", "weight")
PART_KINDS = {"weight": 1, "mean": 2, "m2": 2}  # fields of RunningStatistics -> axes
PART_LOSSES = ("total", "pixels")
LOSSES = "losses"  # key of the mean losses beside '<kind>/<layer>' of the features


@dataclass(frozen=True)
class FeatureBank:
    """Statistics of the real data.

    Args:
        means, deviations: layer -> (classes, features); NaN for a class that was not seen at that layer.
        weights: layer -> cells seen of each class.
        losses: mean loss of the pixels of each class; NaN for a class without a pixel.
        provenance: what it was made from (data, teacher, layers, size), checked on load.
    """

    means: Mapping[str, Float[Tensor, "c d"]]
    deviations: Mapping[str, Float[Tensor, "c d"]]
    weights: Mapping[str, Float[Tensor, " c"]]
    losses: Float[Tensor, " c"]
    provenance: Mapping[str, str]

    def to(self, device: torch.device) -> "FeatureBank":
        """The same bank on a device."""

        def moved(table: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {layer: tensor.to(device) for layer, tensor in table.items()}

        return FeatureBank(
            moved(self.means), moved(self.deviations), moved(self.weights), self.losses.to(device), self.provenance
        )


@dataclass
class RunningStatistics:
    """Weight, mean and M2 of one layer, in float64."""

    weight: Float64[Tensor, " c"]
    mean: Float64[Tensor, "c d"]
    m2: Float64[Tensor, "c d"]

    @classmethod
    def empty(cls, num_classes: int, num_features: int) -> "RunningStatistics":
        """Nothing seen."""
        zeros = torch.zeros(num_classes, num_features, dtype=torch.float64)
        return cls(zeros[:, 0].clone(), zeros, zeros.clone())

    def merge(self, other: "RunningStatistics") -> "RunningStatistics":
        """Both together."""
        weight = self.weight + other.weight
        share = torch.where(weight > 0, other.weight / weight.clamp(min=1e-300), torch.zeros_like(weight))[:, None]
        gap = other.mean - self.mean
        mean = self.mean + gap * share
        m2 = self.m2 + other.m2 + gap.pow(2) * self.weight[:, None] * share
        return RunningStatistics(weight, mean, m2)


def statistics_of(
    features: Float[Tensor, "b d h w"], masks: UInt8[Tensor, "b hh ww"], num_classes: int
) -> RunningStatistics:
    """Weighted statistics of one batch; cells count by the share that a class covers.

    The device works in float64, and the tables alone travel: a feature map of doubles is thousands of times as large.
    """
    one_hot = class_shares(masks, torch.arange(num_classes, device=masks.device))
    shares = F.adaptive_avg_pool2d(one_hot, (features.shape[-2], features.shape[-1])).double()
    cells = shares.transpose(0, 1).flatten(1)  # (c, b h w)
    values = features.double().permute(0, 2, 3, 1).flatten(0, 2)  # (b h w, d)
    weight = cells.sum(dim=1)
    mean = cells @ values / weight.clamp(min=1e-300)[:, None]
    centre = values.mean(dim=0)  # squares around the batch's own centre, moved to each class's mean afterwards
    around_centre = cells @ (values - centre).pow(2)
    m2 = around_centre - weight[:, None] * (mean - centre).pow(2)
    found = (weight, torch.where(weight[:, None] > 0, mean, 0.0), m2.clamp(min=0.0))
    return RunningStatistics(*(to_host(table) for table in found))


@dataclass(frozen=True)
class BankPart:
    """What the teacher makes of some batches of the real data.

    Args:
        running: by layer.
        losses: of the pixels.
    """

    running: Mapping[str, RunningStatistics]
    losses: LossSums

    def merge(self, other: "BankPart") -> "BankPart":
        """Both together; merging in another order gives other last digits."""
        running = {layer: found.merge(other.running[layer]) for layer, found in self.running.items()}
        return BankPart(running, self.losses.merge(other.losses))


def gather_part(
    teacher: Segmenter,
    batches: Iterable[tuple[Float[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"]]],
    layers: Sequence[str],
) -> BankPart:
    """One streaming pass over some of the real data; raises ModelError for a layer that the teacher does not have.

    Examples:
        >>> import torch
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.teacher import gather_part, merged_bank
        >>> teacher = new_segmenter("compact-unet", 5, seed=0, width=8).eval()
        >>> masks = torch.zeros(2, 32, 48, dtype=torch.uint8)
        >>> part = gather_part(teacher, [(torch.rand(2, 3, 32, 48), masks)], ("up1",))
        >>> merged_bank([part], {}).means["up1"].shape
        torch.Size([5, 16])
    """
    found: BankPart | None = None
    for images, masks in batches:
        with torch.no_grad():
            seen = teacher(images)
        missing = [layer for layer in layers if layer not in seen.features]
        if missing:
            raise ModelError(
                f"The teacher has no layer '{missing[0]}': it has {', '.join(seen.features)}."
                f"{did_you_mean(missing[0], seen.features)}"
            )
        running = {layer: statistics_of(seen.features[layer], masks, teacher.num_classes) for layer in layers}
        here = BankPart(running, LossSums.empty(teacher.num_classes).seen(seen.scores, masks))
        found = here if found is None else found.merge(here)
    assert found is not None, "no batch"
    return found


def merged_bank(parts: Iterable[BankPart], provenance: Mapping[str, str]) -> FeatureBank:
    """The bank of all parts, merged in this order.

    Examples:
        >>> import torch
        >>> from d3s2.nets import new_segmenter
        >>> from d3s2.teacher import gather_part, merged_bank
        >>> teacher = new_segmenter("compact-unet", 5, seed=0, width=8).eval()
        >>> masks = torch.zeros(2, 32, 48, dtype=torch.uint8)
        >>> parts = [gather_part(teacher, [(torch.rand(2, 3, 32, 48), masks)], ("up1",)) for _ in range(2)]
        >>> merged_bank(parts, {"data": "two parts"}).weights["up1"].shape
        torch.Size([5])
    """
    whole = reduce(BankPart.merge, parts)
    return _frozen(whole.running, whole.losses, provenance)


def gather_bank(
    teacher: Segmenter,
    batches: Iterable[tuple[Float[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"]]],
    layers: Sequence[str],
    provenance: Mapping[str, str],
) -> FeatureBank:
    """The bank in one pass; raises ModelError for a layer that the teacher does not have."""
    return merged_bank([gather_part(teacher, batches, layers)], provenance)


def save_part(part: BankPart, path: Path) -> None:
    """Writes a part, in float64, for the process that merges them."""
    tensors = {
        f"{kind}/{layer}": getattr(found, kind).contiguous()
        for layer, found in part.running.items()
        for kind in PART_KINDS
    }
    sums = {f"{LOSSES}/{kind}": getattr(part.losses, kind) for kind in PART_LOSSES}
    write_bytes(path, tensors_bytes(tensors | sums, {}))


def load_part(path: Path) -> BankPart:
    """Reads a part; raises ModelError where it is missing or damaged."""
    tensors, _ = read_tensors(path, "a part of a feature bank", MAKE_AGAIN, ModelError)
    layers = [key.partition("/")[2] for key in tensors if key.startswith("mean/")]
    try:
        found = {
            layer: RunningStatistics(
                *(require(tensors, f"{kind}/{layer}", torch.float64, rank) for kind, rank in PART_KINDS.items())
            )
            for layer in layers
        }
        losses = LossSums(*(require(tensors, f"{LOSSES}/{kind}", torch.float64, 1) for kind in PART_LOSSES))
    except ValueError as problem:
        raise ModelError(f"{path}: is a damaged part of a feature bank ({problem}); {MAKE_AGAIN}.") from None
    return BankPart(found, losses)


def save_bank(bank: FeatureBank, path: Path) -> None:
    """Writes the bank as safetensors with its provenance."""
    tables = dict(zip(KINDS, (bank.means, bank.deviations, bank.weights), strict=True))
    tensors = {f"{kind}/{layer}": t.contiguous() for kind, table in tables.items() for layer, t in table.items()}
    tensors[LOSSES] = bank.losses
    write_bytes(path, tensors_bytes(tensors, bank.provenance))


def load_bank(path: Path, expected: Mapping[str, str]) -> FeatureBank:
    """Reads a bank; raises ModelError where it is missing, damaged or was made from something else.

    Args:
        expected: provenance that must agree (for example data, teacher, layers, size).
    """
    tensors, provenance = read_tensors(path, "a feature bank", MAKE_AGAIN, ModelError)
    for key, value in expected.items():
        if provenance.get(key) != value:
            raise ModelError(
                f"{path}: this feature bank was made with {key} '{provenance.get(key)}', this run has '{value}'; "
                f"{MAKE_AGAIN}."
            )
    try:
        return _bank_of(tensors, provenance)
    except ValueError as problem:
        raise ModelError(f"{path}: is a damaged feature bank ({problem}); {MAKE_AGAIN}.") from None


def _bank_of(tensors: Mapping[str, Tensor], provenance: Mapping[str, str]) -> FeatureBank:
    """The bank of these tensors; raises ValueError for one that is missing, unknown or no statistics."""
    losses = require(tensors, LOSSES, torch.float32, 1)
    layers = sorted(key.partition("/")[2] for key in tensors if key.startswith("mean/"))
    known = {LOSSES, *(f"{kind}/{layer}" for kind in KINDS for layer in layers)}
    for key in tensors:
        if key not in known:
            raise ValueError(f"'{key}' belongs to no layer")
    means, deviations, weights = {}, {}, {}
    for layer in layers:
        means[layer] = require(tensors, f"mean/{layer}", torch.float32, 2)
        deviations[layer] = require(tensors, f"std/{layer}", torch.float32, 2)
        weights[layer] = require(tensors, f"weight/{layer}", torch.float32, 1)
        _check_layer(layer, means[layer], deviations[layer], weights[layer], len(losses))
    # NaN stands for a class without a pixel; a loss below zero or beyond all numbers for nothing.
    if (losses < 0).any() or losses.isinf().any():
        raise ValueError("a mean loss is negative or infinite")
    return FeatureBank(means, deviations, weights, losses, provenance)


def _check_layer(layer: str, means: Tensor, deviations: Tensor, weights: Tensor, num_classes: int) -> None:
    if means.shape != deviations.shape or len(means) != num_classes or len(weights) != num_classes:
        raise ValueError(f"the tables of layer '{layer}' differ in shape")
    if not weights.isfinite().all() or (weights < 0).any():
        raise ValueError(f"a weight of layer '{layer}' is negative or not finite")
    for name, table in (("mean", means), ("deviation", deviations)):
        finite, absent = table.isfinite().all(dim=1), table.isnan().all(dim=1)
        # A class with less than a whole cell has none; that was decided before the weights were rounded to float32.
        if not (finite | absent).all() or not finite[weights > 1.01].all():
            raise ValueError(f"a {name} of layer '{layer}' is not finite")
    if (deviations < 0).any():
        raise ValueError(f"a deviation of layer '{layer}' is negative")


def _frozen(running: Mapping[str, RunningStatistics], losses: LossSums, provenance: Mapping[str, str]) -> FeatureBank:
    means, deviations, weights = {}, {}, {}
    for layer, found in running.items():
        unseen = (found.weight < 1.0)[:, None]
        deviation = (found.m2 / found.weight.clamp(min=1e-300)[:, None]).sqrt()
        means[layer] = torch.where(unseen, torch.nan, found.mean).float()
        deviations[layer] = torch.where(unseen, torch.nan, deviation).float()
        weights[layer] = found.weight.float()
    return FeatureBank(means, deviations, weights, losses.means(), provenance)
