"""Judges of the synthetic images, beside the students: do networks read them, are they like real ones, are they copies?

Density, coverage and the Vendi score are taken in the deepest features of the independent network, because it never
guided: the teacher did, and matching its features was the aim. Where there is none, they are the teacher's. Copies are
looked for in plain pixels at low size: to a segmentation network an image and the real one of the same mask are alike
by construction, while their colours agree only where one copies the other. Real images are read once, in small batches,
and only vectors of them are kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.pixels import to_unit
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import numpy_generator
from d3s2.base.train_ids import IGNORE
from d3s2.data import SegmentationDataset, in_order, open_pairs
from d3s2.data.strips import with_composed
from d3s2.judgements import OWN_REAL, UNSEEN_REAL, Judgement, Judgements, Neighbour
from d3s2.metrics import RULE, mean_iou
from d3s2.nets import GRID, Segmenter, deepest_layer, pooled_features
from d3s2.similarity import NUM_NEIGHBOURS, Likeness, RealSpread, compare, spread_of, vendi_score
from d3s2.store import DistilledSet
from d3s2.student import score

Compared = Literal["independent", "teacher"]
TEACHER: Final = "teacher"
INDEPENDENT: Final = "independent"
BATCH = 32
PICTURE = 16


@dataclass(frozen=True)
class Panel:
    """The networks that judge, and how the real data look to one of them and as small pictures.

    Args:
        compared_by: the judge whose features are compared.
        centre, scale: mean and deviation of each feature over the real data.
        features, pixels: the real data, among themselves.
        layer: whose features.
    """

    judges: Mapping[str, Segmenter]
    compared_by: Compared
    centre: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    features: RealSpread
    pixels: RealSpread
    layer: str
    device: torch.device

    def features_of(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Vectors of images in the network's eyes, scaled."""
        return (_features(self.judges[self.compared_by], images, self.device) - self.centre) / self.scale


class Rows:
    """Vectors of `num_rows` images that come batch by batch, in one tensor from the first batch on.

    Thousands of small tensors in a list lie scattered between what is freed around them, and keep the heap from
    shrinking: memory then grows with the images that were read instead of with the vectors that are kept.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows, self._next, self._table = num_rows, 0, torch.empty(0)

    def append(self, rows: Float[Tensor, "b d"]) -> None:
        """Copies the rows behind those that are there."""
        if not self._next:
            self._table = rows.new_empty(self._num_rows, rows.shape[1])
        self._table[self._next : self._next + len(rows)] = rows
        self._next += len(rows)

    @property
    def filled(self) -> Float[Tensor, "n d"]:
        """All rows."""
        assert self._next == self._num_rows
        return self._table


def judge_sets(
    sets: Mapping[str, DistilledSet],
    train: SegmentationDataset,
    test: SegmentationDataset,
    judges: Mapping[str, Segmenter],
    *,
    digest: str,
    seed: int,
    device: torch.device,
    progress: Progress = SILENT,
) -> Judgements:
    """What networks say of distilled sets and, for comparison, of real images.

    Args:
        sets: by name.
        train, test: the real data, at the size of the sets.
        judges: 'teacher', and 'independent' where there is a network that never guided: its features are compared then.
        digest: of all that the judgements follow from (`judgements_depend_on`).
        seed: draws the real images of the test split.
    """
    panel = _panel(judges, train, device, progress)
    rows = [_judged(panel, name, one, one.ids, train) for name, one in sets.items()]
    if sets:
        sources = [item.source_id for item in next(iter(sets.values())).items]
        drawn = numpy_generator(seed, "unseen-real").permutation(len(test.ids))[: len(sources)]
        unseen = [test.ids[int(index)] for index in sorted(drawn)]
        rows += [
            _judged(panel, OWN_REAL, with_composed(train, sources), sources),
            _judged(panel, UNSEEN_REAL, test, unseen),
        ]
    return Judgements(
        digest=digest,
        network=panel.compared_by,
        layer=panel.layer,
        num_real=len(train.ids),
        real_distance=round(float(panel.pixels.nearest.median()), 4),
        rows=tuple(rows),
    )


def judgements_depend_on(sets: Mapping[str, DistilledSet]) -> dict[str, Any]:
    """What the judgements follow from beside the data and the judges, as JSON values."""
    how = {"picture": PICTURE, "grid": GRID, "neighbours": NUM_NEIGHBOURS, "rule": RULE}
    return {"sets": {name: one.manifest["items_sha256"] for name, one in sets.items()}, "how": how}


def _panel(
    judges: Mapping[str, Segmenter], data: SegmentationDataset, device: torch.device, progress: Progress
) -> Panel:
    compared_by: Compared = INDEPENDENT if INDEPENDENT in judges else TEACHER
    net = judges[compared_by]
    real, pixels = Rows(len(data.ids)), Rows(len(data.ids))
    with progress.task("judges read real images", len(data.ids)) as task:
        for chunk in open_pairs(data, data.ids).batches(in_order(len(data.ids), BATCH)):
            real.append(_features(net, chunk.images, device))
            pixels.append(small_pictures(chunk.images.to(device)))
            task.advance(len(chunk))
    centre, scale = real.filled.mean(dim=0), real.filled.std(dim=0).clamp(min=1e-6)
    with torch.no_grad():
        layer = deepest_layer(net(to_unit(chunk.images[:1]).to(device)).features)
    spreads = spread_of(real.filled.sub_(centre).div_(scale)), spread_of(pixels.filled)
    return Panel(judges, compared_by, centre, scale, *spreads, layer, device)


def small_pictures(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """Means over `PICTURE` x `PICTURE` cells, so scaled that distances are root mean squares in grey levels, 0..255."""
    means = F.adaptive_avg_pool2d(images.float(), PICTURE).flatten(1)
    return means / means.shape[1] ** 0.5


def _judged(
    panel: Panel,
    name: str,
    data: SegmentationDataset,
    ids: Sequence[str],
    real: SegmentationDataset | None = None,
) -> Judgement:
    """One row; with `real`, where the neighbours are named."""
    features, pixels, ignored_px, num_px = Rows(len(ids)), Rows(len(ids)), 0, 0
    confusions = {judge: np.zeros((net.num_classes,) * 2, dtype=np.int64) for judge, net in panel.judges.items()}
    for chunk in open_pairs(data, ids).batches(in_order(len(ids), BATCH)):
        features.append(panel.features_of(chunk.images))
        pixels.append(small_pictures(chunk.images.to(panel.device)))
        ignored_px, num_px = ignored_px + int((chunk.masks == IGNORE).sum()), num_px + chunk.masks.numel()
        for judge, net in panel.judges.items():
            confusions[judge] += score(net, chunk, device=panel.device)
    own = name == OWN_REAL  # part of the real data: to compare them with themselves would say nothing
    likeness = None if own else compare(panel.features, features.filled)
    looks = None if own else compare(panel.pixels, pixels.filled)
    return Judgement(
        name=name,
        items=len(ids),
        ignored_share=round(ignored_px / num_px, 4),
        density=round(likeness.density, 4) if likeness else None,
        coverage=round(likeness.coverage, 4) if likeness else None,
        authenticity=round(looks.authenticity, 4) if looks else None,
        vendi=round(vendi_score(features.filled), 4),
        neighbours=_neighbours(data, looks, real) if isinstance(data, DistilledSet) and looks and real else (),
        **{f"{judge}_miou": _miou(confusion) for judge, confusion in confusions.items()},
    )


def _neighbours(distilled: DistilledSet, looks: Likeness, real: SegmentationDataset) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(item.item_id, item.source_id, real.ids[nearest], round(distance, 4), round(ratio, 4))
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


def _features(net: Segmenter, images: UInt8[Tensor, "b 3 h w"], device: torch.device) -> Float[Tensor, "b d"]:
    with torch.no_grad():
        return pooled_features(net, to_unit(images).to(device))
