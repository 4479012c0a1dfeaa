"""The pairs of a set, part by part: where they are read, their soft labels, and what they take on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.data import DataSettings, JoinedDataset, PairSource, ResizedDataset, SegmentationDataset, in_order, open_split
from d3s2.data.files import jpeg_bytes, png_bytes
from d3s2.data.strips import with_composed
from d3s2.store import DistilledSet
from d3s2.store.soft import SoftLabels, read_soft, soft_path

NUM_SIZED = 4096


@dataclass(frozen=True)
class Members:
    """The pairs of one part of a set. Travels to another process.

    Args:
        ids: of the pairs.
        folder: of a distilled set; None for the training split.
        soft: whether students learn from soft labels too.
        soft_folder: where those of real pairs lie (`store.soft_files`); a distilled set has its own.
    """

    ids: tuple[str, ...]
    folder: Path | None = None
    soft: bool = False
    soft_folder: Path | None = None


@dataclass(frozen=True)
class Sizes:
    """Bytes of pairs: images and masks as PNG; images as JPEG of JPEG_QUALITY, 4:2:0, and masks as PNG."""

    png: int
    jpeg: int


def open_members(members: Sequence[Members], data: DataSettings) -> tuple[SegmentationDataset, Sequence[str]]:
    """The pairs of a set at the working size, part behind part: where they are read, and their ids there."""
    if len(members) == 1:
        return _open(members[0], data), members[0].ids
    joined = JoinedDataset(tuple((_open(part, data), part.ids) for part in members))
    return joined, joined.ids


def soft_of(members: Sequence[Members], data: DataSettings) -> list[SoftLabels | None] | None:
    """The soft labels of each pair, in the order of `open_members`; None where no part has any.

    Raises:
        StoreError: a part that should have soft labels has none, or is of another size than the students see.
    """
    if not any(part.soft for part in members):
        return None
    return [soft for part in members for soft in _soft_labels(part, data)]


def sizes_of(pairs: PairSource, num_sized: int = NUM_SIZED) -> Sizes:
    """Bytes of the pairs; from `num_sized` evenly spread ones where there are more."""
    num_sized = min(len(pairs), num_sized)
    spread = [len(pairs) * index // num_sized for index in range(num_sized)]
    png, jpeg = 0, 0
    for batch in pairs.batches(spread[part.start : part.stop] for part in in_order(num_sized, 16)):
        images = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
        labels = sum(len(png_bytes(mask)) for mask in batch.masks.numpy())
        png += labels + sum(len(png_bytes(image)) for image in images)
        jpeg += labels + sum(len(jpeg_bytes(image)) for image in images)
    return Sizes(round(png * len(pairs) / num_sized), round(jpeg * len(pairs) / num_sized))


def soft_bytes_of(members: Sequence[Members]) -> int:
    """Bytes of the soft labels that students learn from, on disk."""
    return sum(file.stat().st_size for part in members if part.soft for file in _soft_files(part))


def _open(part: Members, data: DataSettings) -> SegmentationDataset:
    if part.folder is None:
        return with_composed(open_split(data, data.train), part.ids)
    return ResizedDataset(DistilledSet(part.folder), data.size, data.resize)


def _soft_labels(part: Members, data: DataSettings) -> list[SoftLabels | None]:
    if not part.soft:
        return [None] * len(part.ids)
    if part.folder is None:
        assert part.soft_folder is not None
        num_classes = open_split(data, data.train).space.num_classes
        return [read_soft(part.soft_folder, item_id, num_classes) for item_id in part.ids]
    distilled = DistilledSet(part.folder)
    labels = [distilled.soft(item_id) for item_id in part.ids]
    if any(soft is None for soft in labels):
        raise StoreError(
            f"{part.folder}: has no soft labels, or not for every item; make the set with them, or leave '-soft' out."
        )
    shape = distilled.mask(part.ids[0]).shape
    if shape != data.size:
        raise StoreError(
            f"{part.folder}: is of {shape[0]} x {shape[1]} px and students see {data.size[0]} x {data.size[1]} px; "
            "soft labels cannot be resized, leave '-soft' out."
        )
    return list(labels)


def _soft_files(part: Members) -> list[Path]:
    if part.folder is None:
        assert part.soft_folder is not None
        return [soft_path(part.soft_folder, item_id) for item_id in part.ids]
    folder = part.folder
    return [folder / item.soft_file for item in DistilledSet(folder).items if item.soft_file is not None]
