"""The sets of an evaluation: which pairs each name stands for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from d3s2.base.errors import StoreError
from d3s2.base.formats.files import sha256_text
from d3s2.base.progress import SILENT, Progress
from d3s2.base.seeds import numpy_generator
from d3s2.data import DataSettings, SegmentationDataset, open_pairs
from d3s2.evaluation.members import Members, open_members, sizes_of, soft_bytes_of
from d3s2.evaluation.set_names import parse_set
from d3s2.set_names import ALL, BALANCED, BEST_REAL, RANDOM, SetPart
from d3s2.store import DistilledSet, verify

CLASS_BALANCED = "class-balanced"
NUM_SIZED_FOR_MEAN = 256


@dataclass(frozen=True)
class Sets:
    """What each name of a set stands for in a run.

    Args:
        settings: of the data.
        train: the split that was distilled, at the working size.
        data_digest: of what it holds.
        choose: (selection method, number of masks or None for the run's budget, draw) -> ids.
        own: (name of a set that the run itself distilled, draw) -> its folder.
        soften: ids of real pairs -> the folder that holds the teacher's soft labels of them (`store.soft_files`), whose
            name is a digest of all that they follow from.
        best_real: whether with soft labels -> the name of the best real subset, by validation.
        seed: of the run.
        draws: distilled sets, each from its own noise; the seeds of the evaluation take turns in them.
        progress: where it tells of itself.
    """

    settings: DataSettings
    train: SegmentationDataset
    data_digest: str
    choose: Callable[[str, int | None, int], tuple[str, ...]]
    own: Callable[[str, int], Path]
    soften: Callable[[tuple[str, ...]], Path]
    best_real: Callable[[bool], str]
    seed: int
    draws: int = 1
    progress: Progress = SILENT

    def members(self, name: str, seed: int) -> tuple[Members, ...]:
        """The pairs of a set, part by part; a random part is another one for each seed, a distilled one by draw."""
        return tuple(self._part(part, seed) for part in parse_set(name))

    def content(self, members: Sequence[Members]) -> str:
        """A digest of what the pairs are, without reading them."""
        return sha256_text("\n".join(self._content(part) for part in members))

    def folder(self, part: SetPart, draw: int = 0) -> Path:
        """Where a distilled part lies; raises StoreError where one from elsewhere is not sound or of other classes."""
        if not part.is_elsewhere:
            return self.own(part.source, draw)
        folder = Path(part.source)
        if folder not in self._checked:
            self._check(folder)
            self._checked.add(folder)
        return folder

    @cached_property
    def _checked(self) -> set[Path]:
        return set()

    @cached_property
    def _choices(self) -> dict[tuple[str, int | None, int], tuple[str, ...]]:
        return {}

    def _chosen(self, method: str, num_masks: int | None = None, draw: int = 0) -> tuple[str, ...]:
        key = method, num_masks, draw
        if key not in self._choices:
            self._choices[key] = self.choose(method, num_masks, draw)
        return self._choices[key]

    @cached_property
    def _sizes(self) -> dict[tuple[SetPart, bool], int]:
        return {}

    def _num_at_bytes_of(self, made: SetPart, soft: bool) -> int:
        """How many real pairs of mean size, with soft labels where `soft`, take the bytes of a distilled set as PNG."""
        if (made, soft) not in self._sizes:
            members, data = (self._part(made, seed=0),), self.settings
            size = sizes_of(open_pairs(*open_members(members, data), data.memory_gib)).png + soft_bytes_of(members)
            ids = self.train.ids
            num_sized = min(len(ids), NUM_SIZED_FOR_MEAN)
            spread = tuple(ids[len(ids) * index // num_sized] for index in range(num_sized))
            sized = Members(spread, soft=soft, soft_folder=self.soften(spread) if soft else None)
            mean = (sizes_of(open_pairs(self.train, spread)).png + soft_bytes_of([sized])) / num_sized
            self._sizes[made, soft] = min(len(ids), max(1, round(size / mean)))
        return self._sizes[made, soft]

    def _part(self, part: SetPart, seed: int) -> Members:
        if not part.is_real:
            folder = self.folder(part, seed % self.draws)
            return Members(tuple(DistilledSet(folder).ids), folder, part.soft)
        ids = self._real_ids(part, seed)
        return Members(ids, soft=part.soft, soft_folder=self.soften(ids) if part.soft else None)

    def _real_ids(self, part: SetPart, seed: int) -> tuple[str, ...]:
        if part.source == ALL:
            return tuple(self.train.ids)
        num_masks = None if part.like is None else self._num_at_bytes_of(part.like, part.soft)
        if part.source == RANDOM:
            count = num_masks or len(self._chosen(CLASS_BALANCED))
            return random_ids(self.train.ids, count, self.seed, seed)
        source = self.best_real(part.soft) if part.source == BEST_REAL else part.source
        return self._chosen(CLASS_BALANCED if source == BALANCED else source, num_masks, seed % self.draws)

    def _content(self, part: Members) -> str:
        if part.folder is None:
            soft = f" soft {part.soft_folder.name}" if part.soft_folder is not None else ""
            return sha256_text(f"{self.data_digest} {' '.join(part.ids)}{soft}")
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
    """A random set of real masks; every seed of the evaluation draws its own.

    Examples:
        >>> from d3s2.evaluation import random_ids
        >>> len(random_ids([f"{number:06d}" for number in range(100)], 3, run_seed=0, seed=1))
        3
    """
    chosen = numpy_generator(run_seed, "random-set", seed).permutation(len(ids))[:num_masks]
    return tuple(ids[int(index)] for index in sorted(chosen))
