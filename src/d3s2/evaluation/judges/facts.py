"""What judges read of images, some at a time: a vector and a small picture of each, and counts of pixels.

Vectors are those of the network whose features are compared. To look for copies pictures are compared in plain pixels:
to a segmentation network an image and the real one of the same mask are alike by construction, while their colours
agree only where one copies the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_bytes
from d3s2.base.formats.json_text import MAKE_AGAIN
from d3s2.base.formats.tensors import read_tensors, require, tensors_bytes
from d3s2.base.machine.moving import to_device, to_host
from d3s2.base.pixels import to_unit
from d3s2.base.train_ids import IGNORE
from d3s2.data import SegmentationDataset, in_order, open_pairs
from d3s2.nets import Segmenter, deepest_layer, pooled_features
from d3s2.student import score

Compared = Literal["independent", "teacher"]
TEACHER: Final = "teacher"
INDEPENDENT: Final = "independent"
BATCH = 32
PICTURE = 16
CONFUSION = "confusion/"  # prefix of tensors in a file


@dataclass(frozen=True)
class ImageFacts:
    """What judges read of n images.

    Args:
        features: vectors of the compared network, as it gives them.
        pictures: as `small_pictures` makes them.
        ignored_px: pixels of the masks that are ignored, of `num_px`.
        confusions: of each judge over the pairs, where they are scored.
        network: the compared one.
        layer: its deepest, whose features they are.
    """

    features: Float[Tensor, "n d"]
    pictures: Float[Tensor, "n p"]
    ignored_px: int
    num_px: int
    confusions: Mapping[str, Int64[np.ndarray, "c c"]]
    network: Compared
    layer: str


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


def read_facts(
    judges: Mapping[str, Segmenter],
    data: SegmentationDataset,
    ids: Sequence[str],
    *,
    scored: bool,
    device: torch.device,
) -> ImageFacts:
    """Reads images in small batches, and keeps vectors only.

    Args:
        judges: the networks by name, TEACHER among them.
        ids: of the pairs.
        scored: whether the judges predict them; the features alone are cheaper.
    """
    network: Compared = INDEPENDENT if INDEPENDENT in judges else TEACHER
    net = judges[network]
    features, pictures, ignored_px, num_px = Rows(len(ids)), Rows(len(ids)), 0, 0
    confusions = {name: np.zeros((one.num_classes,) * 2, dtype=np.int64) for name, one in judges.items() if scored}
    for chunk in open_pairs(data, ids).batches(in_order(len(ids), BATCH)):
        features.append(to_host(_features(net, chunk.images, device)))
        pictures.append(small_pictures(chunk.images))
        ignored_px, num_px = ignored_px + int((chunk.masks == IGNORE).sum()), num_px + chunk.masks.numel()
        for name in confusions:
            confusions[name] += score(judges[name], chunk, device=device)
    with torch.no_grad():
        layer = deepest_layer(net(to_unit(to_device(chunk.images[:1], device))).features)
    return ImageFacts(features.filled, pictures.filled, ignored_px, num_px, confusions, network, layer)


def small_pictures(images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    """Means over `PICTURE` x `PICTURE` cells, so scaled that distances are root mean squares in grey levels, 0..255."""
    means = F.adaptive_avg_pool2d(images.float(), PICTURE).flatten(1)
    return means / means.shape[1] ** 0.5


def merged_facts(parts: Iterable[ImageFacts], num_images: int) -> ImageFacts:
    """The facts of all parts, which are taken one at a time, in this order."""
    features, pictures, ignored_px, num_px = Rows(num_images), Rows(num_images), 0, 0
    confusions: dict[str, Int64[np.ndarray, "c c"]] = {}
    for part in parts:
        features.append(part.features)
        pictures.append(part.pictures)
        ignored_px, num_px = ignored_px + part.ignored_px, num_px + part.num_px
        for name, found in part.confusions.items():
            confusions[name] = confusions[name] + found if name in confusions else found
    return ImageFacts(features.filled, pictures.filled, ignored_px, num_px, confusions, part.network, part.layer)


def save_facts(facts: ImageFacts, path: Path) -> None:
    """Writes a part for the process that merges them; the same bytes from the same facts."""
    tensors = {"features": facts.features, "pictures": facts.pictures}
    tensors["px"] = torch.tensor([facts.ignored_px, facts.num_px])
    tensors |= {f"{CONFUSION}{name}": torch.from_numpy(found) for name, found in facts.confusions.items()}
    write_bytes(path, tensors_bytes(tensors, {"layer": facts.layer, "network": facts.network}))


def load_facts(path: Path) -> ImageFacts:
    """Reads a part; raises StoreError where it is missing or damaged."""
    tensors, metadata = read_tensors(path, "what judges read", MAKE_AGAIN)
    try:
        features, pictures = (require(tensors, name, torch.float32, 2) for name in ("features", "pictures"))
        ignored_px, num_px = require(tensors, "px", torch.int64, 1).tolist()
        if len(features) != len(pictures) or not 0 <= ignored_px <= num_px:
            raise ValueError("its tables contradict each other")
        network, layer = metadata["network"], metadata["layer"]
        if network not in (INDEPENDENT, TEACHER):
            raise ValueError(f"it is of a network '{network}'")
        names = [name for name in tensors if name.startswith(CONFUSION)]
        confusions = {name.removeprefix(CONFUSION): require(tensors, name, torch.int64, 2).numpy() for name in names}
    except (KeyError, ValueError) as problem:
        raise StoreError(f"{path}: is a damaged part of what judges read ({problem}); {MAKE_AGAIN}.") from None
    return ImageFacts(features, pictures, ignored_px, num_px, confusions, cast(Compared, network), layer)


def _features(net: Segmenter, images: UInt8[Tensor, "b 3 h w"], device: torch.device) -> Float[Tensor, "b d"]:
    with torch.no_grad():
        return pooled_features(net, to_unit(to_device(images, device)))
