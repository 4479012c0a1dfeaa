"""A run: its config, its folder, its data; what every stage is handed."""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from d3s2.base.config import build
from d3s2.base.errors import StoreError
from d3s2.base.formats.files import write_json
from d3s2.base.formats.locks import LOCK_NAME, LOCKS, alone
from d3s2.base.formats.records import read_object
from d3s2.base.machine.runtime import autocast_dtype
from d3s2.base.progress import SILENT, Progress
from d3s2.data import PairSource, ResizedDataset, SegmentationDataset, open_pairs, open_split
from d3s2.data.census import MaskCensus, is_counted, take_census
from d3s2.data.strips import ComposedDataset, StripsDataset
from d3s2.execution import HERE as THIS_MACHINE
from d3s2.execution import Execution, Outcome, Result, executor_of, log_path, logged
from d3s2.generator import unloaded
from d3s2.pipeline.config import RunConfig
from d3s2.pipeline.fingerprint import content_of
from d3s2.pipeline.work.census import count_share, counting_by
from d3s2.set_names import GUIDED

RUN_FILE = "run.json"
UNGUIDED_FOLDER = "unguided"  # of the set without guidance, inside the run
RESTORE = "restore it from a copy, or choose another --out"
CENSUS = "census"
CPU = torch.device("cpu")
MANY_MASKS = 5000  # starting workers takes longer than counting fewer masks in this one


@dataclass(frozen=True)
class Run:
    """What a stage needs to know of the run that it is part of.

    Args:
        config: what was asked for.
        folder: everything that the run writes.
        device: where networks run.
        progress: where it tells of itself.
        shared: folder of census and fitted models that several runs use; None keeps them in the run's own.
        execution: where its pieces of work are done.
    """

    config: RunConfig
    folder: Path
    device: torch.device
    progress: Progress = SILENT
    shared: Path | None = None
    execution: Execution = THIS_MACHINE

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Other processes that share the run, or its models, wait for the end of the block."""
        if self.execution.share is None and self.shared is None:
            return nullcontext()
        return alone(self.base, name, lambda: self.progress.say(f"{self.base}: waiting for another process: {name}"))

    @property
    def base(self) -> Path:
        """Where census and models lie."""
        return self.shared or self.folder

    @property
    def models(self) -> Path:
        """Folder of what was fitted."""
        return self.base / "models"

    @property
    def autocast(self) -> torch.dtype | None:
        """Reduced format for training."""
        return autocast_dtype(self.device)

    def logged(self, step: str, outcomes: Iterator[Outcome[Result]]) -> Iterator[Outcome[Result]]:
        """The outcomes of a step, each kept as a line of the run's log."""
        return logged(log_path(self.folder, self.execution.share), step, outcomes)

    @cached_property
    def train_data(self) -> SegmentationDataset:
        """The split that is distilled, at the working size."""
        return open_split(self.config.data, self.config.data.train)

    @cached_property
    def test_data(self) -> ResizedDataset:
        """The split that students are scored on, at the working size."""
        return open_split(self.config.data, self.config.data.test)

    @cached_property
    def train_pairs(self) -> PairSource:
        """The training split, in memory where it is small enough."""
        return open_pairs(self.train_data, self.train_data.ids, self.config.data.memory_gib, self.progress)

    @cached_property
    def census(self) -> MaskCensus:
        """Pixel counts of the training split, kept beside the run."""
        return self._counted(self.train_data, CENSUS, self.config.select.skip_bad)

    @cached_property
    def source_data(self) -> SegmentationDataset:
        """What the masks of the distilled set are read from: the training split, and pairs put together of it."""
        return ComposedDataset(self.train_data) if self.config.select.strips > 1 else self.train_data

    @cached_property
    def strips_data(self) -> StripsDataset:
        """The strips that masks are put together of."""
        return StripsDataset(self.train_data, self.config.select.strips)

    @cached_property
    def strip_census(self) -> MaskCensus:
        """Pixel counts of every strip, kept beside the run."""
        return self._counted(self.strips_data, f"{CENSUS}-strips-{self.config.select.strips}", skip_bad=False)

    @property
    def data_digest(self) -> str:
        """Of what the training split holds; a copy of it elsewhere has the same."""
        return self.census.digest

    @cached_property
    def test_census(self) -> MaskCensus:
        """Pixel counts of the test split: all its masks are read, so that a bad one is named before any training."""
        return self._counted(self.test_data, f"{CENSUS}-{_plain(self.config.data.test)}", skip_bad=False)

    @cached_property
    def scored_census(self) -> MaskCensus:
        """That of the test split at the size at which students are scored (`evaluate.scored_at`)."""
        if self.config.evaluate.scored_at == "working":
            return self.test_census
        return self._counted(self.test_data.source, f"{CENSUS}-{_plain(self.config.data.test)}-native", skip_bad=False)

    @property
    def test_digest(self) -> str:
        """Of what the test split holds; a copy of it elsewhere has the same."""
        return self.test_census.digest

    def count_masks(self) -> MaskCensus:
        """Takes the census of the training split now; raises DataError for a mask that cannot be used."""
        return self.census

    def count_test_masks(self) -> MaskCensus:
        """Takes that of the test split now; raises DataError for a mask that students cannot be scored on."""
        return self.scored_census

    def _counted(self, data: SegmentationDataset, folder: str, skip_bad: bool) -> MaskCensus:
        cache = self.base / folder
        tell = partial(self.logged, "census")
        # Starting workers takes longer than counting fewer masks here; and of those who share, one merges for all.
        where = replace(self.execution, share=None) if len(data.ids) >= MANY_MASKS else Execution(workers=1)
        count = counting_by(executor_of(where, self.base, CPU), tell)
        sharing = self.execution.share is not None or self.shared is not None
        # What is counted already many may read at once.
        if sharing and is_counted(data, cache):
            return take_census(data, cache, skip_bad=skip_bad, progress=self.progress)
        if self.execution.share is not None:
            count_share(executor_of(self.execution, self.base, CPU), data, cache, tell)
        with self.alone(folder):
            return take_census(data, cache, count=count, skip_bad=skip_bad, progress=self.progress)


def _plain(split: str) -> str:
    """The name of a split as part of a folder's."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", split)


def set_folder(run: Run, name: str) -> Path:
    """Where a run's own distilled set lies: 'distilled', or 'distilled-unguided'."""
    return run.folder if name == GUIDED else run.folder / UNGUIDED_FOLDER


def open_run(
    config: RunConfig,
    folder: Path,
    device: torch.device,
    progress: Progress = SILENT,
    shared: Path | None = None,
    execution: Execution = THIS_MACHINE,
) -> Run:
    """Begins a run in `folder`, or resumes the existing one; `shared` and `execution` as in Run.

    A call that failed before it made anything, as one without its data does, binds no other one to its config.

    Raises:
        StoreError: the folder holds a run of another config; the message names the first key that differs.
    """
    path = folder / RUN_FILE
    # Others with a share may be about to make something.
    if path.exists() and (execution.share is not None or _holds_something(folder)):
        before = read_config(folder, trusted_kind=config.generator.kind)
        stored, asked = (content_of(one, "synthesize") for one in (before, config))
        key = _first_difference(stored, asked)
        if key is not None:
            raise StoreError(
                f"{folder}: holds a run with another {key} ({_at(stored, key)!r}, this call has {_at(asked, key)!r}); "
                "choose another --out, or repeat the first call to resume it."
            )
        progress.say(f"{folder}: an existing run is resumed")
    write_json(path, config.model_dump(mode="json"))
    return Run(config, folder, device, progress, shared, execution)


def _holds_something(folder: Path) -> bool:
    """Whether a run has made anything beside its config."""
    return any(entry.name not in (RUN_FILE, LOCK_NAME, LOCKS) for entry in folder.iterdir())


def read_config(folder: Path, trusted_kind: str | None = None) -> RunConfig:
    """The config of the run that a folder holds; imports no code that it names.

    Args:
        folder: of the run, which may come from elsewhere.
        trusted_kind: a kind of generator that the call itself names; its code may be imported.

    Raises:
        StoreError: the folder holds no run.
    """
    path = folder / RUN_FILE
    try:
        is_there = path.is_file()
    except OSError as error:  # a folder that may not be entered
        raise StoreError(f"{path}: cannot be read ({error.strerror}); check the folder's permissions.") from None
    if not is_there:
        raise StoreError(f"{folder}: holds no run ({RUN_FILE} is missing); give the --out of `d3s2 distill`.")
    values = read_object(path, RESTORE)
    generator = values.get("generator")
    if isinstance(generator, Mapping) and generator.get("kind") != trusted_kind:
        values = values | {"generator": unloaded(generator)}
    return build(RunConfig, values, str(path))


def _first_difference(stored: Any, asked: Any, prefix: str = "") -> str | None:
    if not (isinstance(stored, Mapping) and isinstance(asked, Mapping)):
        return None if stored == asked else prefix.rstrip(".")
    for key in sorted({*stored, *asked}):
        found = _first_difference(stored.get(key), asked.get(key), f"{prefix}{key}.")
        if found is not None:
            return found
    return None


def _at(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, Mapping) else None
    return content
