"""The sets of an evaluation: which pairs each name stands for, and the pairs themselves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import sha256_text
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import numpy_generator
from d3s2.data import (
    DataSettings,
    JoinedDataset,
    PairSource,
    ResizedDataset,
    SegmentationDataset,
    in_order,
    open_pairs,
    open_split,
)
from d3s2.data.files import png_bytes
from d3s2.evaluation.set_names import parse_set
from d3s2.set_names import ALL, BALANCED, RANDOM, SetPart
from d3s2.store import DistilledSet, SoftLabels, verify

CLASS_BALANCED = "class-balanced"
NUM_SIZED, NUM_SIZED_FOR_MEAN = 4096, 256


@dataclass(frozen=True)
class Members:
    """The pairs of one part of a set. Travels to another process.

    Args:
        ids: of the pairs.
        folder: of a distilled set; None for the training split.
        soft: whether students learn from its soft labels too.
    """

    ids: tuple[str, ...]
    folder: Path | None = None
    soft: bool = False


@dataclass(frozen=True)
class Sets:
    """What each name of a set stands for in a run.

    Args:
        settings: of the data.
        train: the split that was distilled, at the working size.
        data_digest: of what it holds.
        choose: (selection method, number of masks or None for the run's budget) -> ids.
        own: name of each set that the run itself distilled -> its folder.
        seed: of the run.
        progress: where it tells of itself.
    """

    settings: DataSettings
    train: SegmentationDataset
    data_digest: str
    choose: Callable[[str, int | None], tuple[str, ...]]
    own: Mapping[str, Path]
    seed: int
    progress: Progress = SILENT

    @cached_property
    def balanced(self) -> tuple[str, ...]:
        """As many real masks as are distilled, class-balanced."""
        return self._chosen(CLASS_BALANCED)

    def members(self, name: str, seed: int) -> tuple[Members, ...]:
        """The pairs of a set, part by part; a random part is another one for each seed."""
        return tuple(self._part(part, seed) for part in parse_set(name))

    def content(self, members: Sequence[Members]) -> str:
        """A digest of what the pairs are, without reading them."""
        return sha256_text("\n".join(self._content(part) for part in members))

    def folder(self, part: SetPart) -> Path:
        """Where a distilled part lies; raises StoreError where one from elsewhere is not sound or of other classes."""
        if not part.is_elsewhere:
            return self.own[part.source]
        folder = Path(part.source)
        if folder not in self._checked:
            self._check(folder)
            self._checked.add(folder)
        return folder

    @cached_property
    def _checked(self) -> set[Path]:
        return set()

    @cached_property
    def _choices(self) -> dict[tuple[str, int | None], tuple[str, ...]]:
        return {}

    def _chosen(self, method: str, num_masks: int | None = None) -> tuple[str, ...]:
        if (method, num_masks) not in self._choices:
            self._choices[method, num_masks] = self.choose(method, num_masks)
        return self._choices[method, num_masks]

    @cached_property
    def _sizes(self) -> dict[SetPart, int]:
        return {}

    def _num_at_bytes_of(self, made: SetPart) -> int:
        """How many real pairs of mean size take the bytes of a distilled set."""
        if made not in self._sizes:
            members, data = (self._part(made, seed=0),), self.settings
            size = png_size(open_pairs(*open_members(members, data), data.memory_gib)) + soft_bytes_of(members)
            pairs = open_pairs(self.train, self.train.ids)
            mean = png_size(pairs, NUM_SIZED_FOR_MEAN) / len(pairs)
            self._sizes[made] = min(len(pairs), max(1, round(size / mean)))
        return self._sizes[made]

    def _part(self, part: SetPart, seed: int) -> Members:
        if not part.is_real:
            folder = self.folder(part)
            return Members(tuple(DistilledSet(folder).ids), folder, part.soft)
        if part.source == ALL:
            return Members(tuple(self.train.ids))
        num_masks = None if part.like is None else self._num_at_bytes_of(part.like)
        if part.source == RANDOM:
            return Members(random_ids(self.train.ids, num_masks or len(self.balanced), self.seed, seed))
        return Members(self._chosen(CLASS_BALANCED if part.source == BALANCED else part.source, num_masks))

    def _content(self, part: Members) -> str:
        if part.folder is None:
            return sha256_text(f"{self.data_digest} {' '.join(part.ids)}")
        return f"{DistilledSet(part.folder).manifest['items_sha256']} {part.soft}"

    def _check(self, folder: Path) -> None:
        found = verify(folder, progress=self.progress)
        if not found.sound:
            problem = found.problems[0] if found.problems else f"{found.extra_files[0]} belongs to no item"
            raise StoreError(f"{folder}: is not sound ({problem}); `d3s2 verify {folder}` lists all that is wrong.")
        theirs, ours = DistilledSet(folder).space, self.train.space
        if theirs.names != ours.names:
            raise StoreError(
                f"{folder}: has the {theirs.num_classes} classes of {theirs.name} and the data has the "
                f"{ours.num_classes} of {ours.name}; compare sets of the same classes, in the same order."
            )


def random_ids(ids: Sequence[str], num_masks: int, run_seed: int, seed: int) -> tuple[str, ...]:
    """A random set of real masks; every seed of the evaluation draws its own."""
    chosen = numpy_generator(run_seed, "random-set", seed).permutation(len(ids))[:num_masks]
    return tuple(ids[int(index)] for index in sorted(chosen))


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


def png_size(pairs: PairSource, num_sized: int = NUM_SIZED) -> int:
    """Bytes of the pairs as PNG; from `num_sized` evenly spread ones where there are more."""
    num_sized = min(len(pairs), num_sized)
    spread = [len(pairs) * index // num_sized for index in range(num_sized)]
    size = 0
    for batch in pairs.batches(spread[part.start : part.stop] for part in in_order(num_sized, 16)):
        images = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
        size += sum(len(png_bytes(array)) for array in (*images, *batch.masks.numpy()))
    return round(size * len(pairs) / num_sized)


def soft_bytes_of(members: Sequence[Members]) -> int:
    """Bytes of the soft labels that students learn from, on disk."""
    return sum(_soft_size(part.folder) for part in members if part.soft and part.folder is not None)


def _open(part: Members, data: DataSettings) -> SegmentationDataset:
    if part.folder is None:
        return open_split(data, data.train)
    return ResizedDataset(DistilledSet(part.folder), data.size, data.resize)


def _soft_labels(part: Members, data: DataSettings) -> list[SoftLabels | None]:
    if not part.soft or part.folder is None:
        return [None] * len(part.ids)
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


def _soft_size(folder: Path) -> int:
    files = (item.soft_file for item in DistilledSet(folder).items)
    return sum((folder / file).stat().st_size for file in files if file is not None)
