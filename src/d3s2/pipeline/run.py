"""A run: its config, its folder, its data; what every stage is handed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from d3s2.base.config import build
from d3s2.base.cores import num_cores
from d3s2.base.errors import StoreError
from d3s2.base.files import write_json
from d3s2.base.progress import SILENT, Progress
from d3s2.base.records import read_object
from d3s2.base.runtime import autocast_dtype
from d3s2.data.catalogue import open_dataset
from d3s2.data.census import MaskCensus
from d3s2.data.dataset import ResizedDataset, SegmentationDataset
from d3s2.data.pairs import PairSource, open_pairs
from d3s2.pipeline.census import take_census
from d3s2.pipeline.config import DataConfig, RunConfig

RUN_FILE = "run.json"
RESTORE = "restore it from a copy, or choose another --out"
CENSUS, TEST_CENSUS = "census", "census-test"
MANY_MASKS = 5000  # starting processes takes longer than counting fewer masks in this one
SHIPPED = "shipped:"
PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"


@dataclass(frozen=True)
class Run:
    """What a stage needs to know of the run that it is part of.

    Args:
        config: what was asked for.
        folder: everything that the run writes.
        device: where networks run.
        progress: where it tells of itself.
        shared: folder of census and fitted models that several runs use; None keeps them in the run's own.
    """

    config: RunConfig
    folder: Path
    device: torch.device
    progress: Progress = SILENT
    shared: Path | None = None

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

    @cached_property
    def train_data(self) -> SegmentationDataset:
        """The split that is distilled, at the working size."""
        return open_split(self.config.data, self.config.data.train)

    @cached_property
    def test_data(self) -> SegmentationDataset:
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

    @property
    def data_digest(self) -> str:
        """Of what the training split holds; a copy of it elsewhere has the same."""
        return self.census.digest

    @cached_property
    def test_census(self) -> MaskCensus:
        """Pixel counts of the test split: all its masks are read, so that a bad one is named before any training."""
        return self._counted(self.test_data, TEST_CENSUS, skip_bad=False)

    @property
    def test_digest(self) -> str:
        """Of what the test split holds; a copy of it elsewhere has the same."""
        return self.test_census.digest

    def _counted(self, data: SegmentationDataset, folder: str, skip_bad: bool) -> MaskCensus:
        workers = num_cores() if len(data.ids) >= MANY_MASKS else 0
        return take_census(data, self.base / folder, workers=workers, skip_bad=skip_bad, progress=self.progress)


def open_split(data: DataConfig, split: str) -> SegmentationDataset:
    """One split of the data set of a run, at its working size."""
    source = open_dataset(data.dataset, split, root=data.root, options=data.options)
    return ResizedDataset(source, data.size, data.fit)


def resolve_source(source: str) -> str:
    """A hub id or folder as it is; 'shipped:scenes/teacher' as a folder inside the package."""
    return str(PRETRAINED / source.removeprefix(SHIPPED)) if source.startswith(SHIPPED) else source


def open_run(
    config: RunConfig, folder: Path, device: torch.device, progress: Progress = SILENT, shared: Path | None = None
) -> Run:
    """Begins a run in `folder`, or goes on with the one that is there; `shared` as in Run.

    Raises:
        StoreError: the folder holds a run of another config; the message names the first key that differs.
    """
    path = folder / RUN_FILE
    if path.exists():
        stored, asked = _distilled_part(read_config(folder)), _distilled_part(config)
        key = _first_difference(stored, asked)
        if key is not None:
            raise StoreError(
                f"{folder}: holds a run with another {key} ({_at(stored, key)!r}, this call has {_at(asked, key)!r}); "
                "choose another --out, or repeat the first call to go on with it."
            )
        progress.say(f"{folder} is there already: goes on with it")
    write_json(path, config.model_dump(mode="json"))
    return Run(config, folder, device, progress, shared)


def read_config(folder: Path) -> RunConfig:
    """The config of the run that a folder holds; raises StoreError where it holds none."""
    path = folder / RUN_FILE
    try:
        is_there = path.is_file()
    except OSError as error:  # a folder that may not be entered
        raise StoreError(f"{path}: cannot be read ({error.strerror}); check the folder's permissions.") from None
    if not is_there:
        raise StoreError(f"{folder}: holds no run ({RUN_FILE} is missing); give the --out of `d3s2 distill`.")
    return build(RunConfig, read_object(path, RESTORE), str(path))


def _distilled_part(config: RunConfig) -> dict[str, Any]:
    """All that the distilled set depends on; how it is evaluated, and where the data lies, may change."""
    fits = {"fit": {"checkpoint_s"}, "tune": {"checkpoint_s"}}
    traced = {"trace_every"}  # the page's curves may be thinner from one call on; no image knows of them
    apart: dict[str, Any] = {"evaluate": True, "data": {"memory_gib", "root"}, "generator": fits, "synthesize": traced}
    return config.model_dump(mode="json", exclude=apart)


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
