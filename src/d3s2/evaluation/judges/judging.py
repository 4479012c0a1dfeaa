"""Judges of the synthetic images, beside the students: do networks read them, are they like real ones, are they copies?

Density, coverage and the Vendi score are taken in the deepest features of the independent network, because it never
guided: the teacher did, and matching its features was the aim. Where there is none, they are the teacher's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from d3s2.base.machine.moving import to_device, to_host
from d3s2.base.seeds import numpy_generator
from d3s2.evaluation.judges.facts import PICTURE, ImageFacts
from d3s2.judgements import OWN_REAL, UNSEEN_REAL, Judgement, Judgements, Neighbour
from d3s2.metrics import RULE, mean_iou
from d3s2.nets import GRID
from d3s2.similarity import NUM_NEIGHBOURS, Likeness, RealSpread, compare, spread_of, vendi_score
from d3s2.store import DistilledSet

ALL_REAL = "all-real"
"""The real images that all others are compared with."""


@dataclass(frozen=True)
class Panel:
    """How the real data look to the compared network and as small pictures.

    Args:
        centre, scale: mean and deviation of each feature over the real data.
        features, pictures: the real data, among themselves.
    """

    centre: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    features: RealSpread
    pictures: RealSpread
    device: torch.device

    def features_of(self, facts: ImageFacts) -> Float[Tensor, "n d"]:
        """Vectors of images, scaled."""
        return (to_device(facts.features, self.device) - self.centre) / self.scale


def judged_images(
    sets: Mapping[str, DistilledSet], train: Sequence[str], test: Sequence[str], seed: int
) -> dict[str, tuple[str, ...]]:
    """The ids of all images that judges read, by what they are: all real ones, each set, and real ones to compare with.

    Args:
        train, test: ids of the real data.
        seed: draws the real images of the test split.
    """
    found = {ALL_REAL: tuple(train)} | {name: tuple(one.ids) for name, one in sets.items()}
    if sets:
        sources = tuple(item.source_id for item in next(iter(sets.values())).items)
        drawn = numpy_generator(seed, "unseen-real").permutation(len(test))[: len(sources)]
        found |= {OWN_REAL: sources, UNSEEN_REAL: tuple(test[int(index)] for index in sorted(drawn))}
    return found


def judge_sets(
    facts: Mapping[str, ImageFacts],
    sets: Mapping[str, DistilledSet],
    real_ids: Sequence[str],
    *,
    digest: str,
    device: torch.device,
) -> Judgements:
    """What networks say of distilled sets and, for comparison, of real images.

    Args:
        facts: of the images that `judged_images` names.
        sets: by name.
        real_ids: of the training split.
        digest: of all that the judgements follow from (`judgements_depend_on`).
    """
    real = facts[ALL_REAL]
    panel = _panel(real, device)
    rows = [_judged(panel, name, one, sets.get(name), real_ids) for name, one in facts.items() if name != ALL_REAL]
    return Judgements(
        digest=digest,
        network=real.network,
        layer=real.layer,
        num_real=len(real_ids),
        real_distance=round(float(to_host(panel.pictures.nearest.median())), 4),
        rows=tuple(rows),
    )


def judgements_depend_on(sets: Mapping[str, DistilledSet]) -> dict[str, Any]:
    """What the judgements follow from beside the data and the judges, as JSON values."""
    how = {"picture": PICTURE, "grid": GRID, "neighbours": NUM_NEIGHBOURS, "rule": RULE}
    return {"sets": {name: one.manifest["items_sha256"] for name, one in sets.items()}, "how": how}


def _panel(real: ImageFacts, device: torch.device) -> Panel:
    features = to_device(real.features, device)
    centre, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    spread = spread_of(features.sub_(centre).div_(scale))
    return Panel(centre, scale, spread, spread_of(to_device(real.pictures, device)), device)


def _judged(
    panel: Panel, name: str, facts: ImageFacts, distilled: DistilledSet | None, real_ids: Sequence[str]
) -> Judgement:
    """One row; the neighbours of a distilled set are named."""
    features, num_images = panel.features_of(facts), len(facts.features)
    own = name == OWN_REAL  # part of the real data: to compare them with themselves would say nothing
    likeness = None if own else compare(panel.features, features)
    looks = None if own else compare(panel.pictures, to_device(facts.pictures, panel.device))
    return Judgement(
        name=name,
        items=num_images,
        ignored_share=round(facts.ignored_px / facts.num_px, 4),
        density=round(likeness.density, 4) if likeness else None,
        coverage=round(likeness.coverage, 4) if likeness else None,
        authenticity=round(looks.authenticity, 4) if looks else None,
        vendi=round(vendi_score(features), 4),
        neighbours=_neighbours(distilled, looks, real_ids) if distilled is not None and looks else (),
        **{f"{judge}_miou": _miou(confusion) for judge, confusion in facts.confusions.items()},
    )


def _neighbours(distilled: DistilledSet, looks: Likeness, real_ids: Sequence[str]) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(item.item_id, item.source_id, real_ids[nearest], round(distance, 4), round(ratio, 4))
        for item, nearest, distance, ratio in zip(
            distilled.items,
            looks.nearest.tolist(),
            looks.distance.tolist(),
            looks.ratio.tolist(),
            strict=True,
        )
    )


def _miou(confusion: Int64[np.ndarray, "c c"]) -> float | None:
    miou = mean_iou(confusion)
    return None if isnan(miou) else round(miou, 4)
