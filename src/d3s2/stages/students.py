"""Students of an evaluation: one small piece of work each, kept under a digest of all that it depends on.

So a stopped evaluation goes on, and a student that several tables need is trained once.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from d3s2.base.files import read_json, write_json
from d3s2.base.progress import Progress
from d3s2.base.runtime import autocast_dtype, num_cores, peak_memory_gib, stopwatch
from d3s2.base.seeds import seed_for
from d3s2.base.workers import end_with_parent
from d3s2.data.image_files import png_bytes
from d3s2.data.pairs import PairSource, in_order, open_pairs
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import Network, save_segmenter
from d3s2.stages.config import ArchitectureConfig, DataConfig, TrainConfig
from d3s2.stages.fit import new_unet, train_settings
from d3s2.stages.run import open_split
from d3s2.store.reader import DistilledSet
from d3s2.student.predict import measure
from d3s2.student.train import train

Submit = Callable[[Sequence["StudentJob"]], Iterator["StudentRecord"]]
STUDENTS = "students"
NUM_SIZED = 4096


@dataclass(frozen=True)
class StudentJob:
    """One student: which pairs, which network and protocol, which seed. Travels to another process.

    Args:
        set_name: what tables call the set.
        architecture: which network.
        digest: of everything that the result depends on.
        data: for real sets, and for the test split.
        ids: of the training pairs.
        folder: of a distilled set; None for real pairs.
        protocol: of the training, this architecture's settings taken in.
        keep: where to store the trained network; None drops it.
    """

    set_name: str
    architecture: ArchitectureConfig
    seed: int
    digest: str
    data: DataConfig
    ids: tuple[str, ...]
    folder: Path | None
    protocol: TrainConfig
    device: str
    threads: int
    keep: Path | None = None

    @property
    def student(self) -> str:
        """What tables call the architecture."""
        return self.architecture.student


@dataclass(frozen=True)
class StudentRecord:
    """What came out of one student.

    Args:
        items: training pairs.
        bytes: of the training pairs as PNG at the working size, estimated from `NUM_SIZED` of them where there are
            more.
        confusion: pixels of (true class, predicted class) over the test split.
        boundary: pixels near contours over the test split: shared, of the truth, of the prediction, by class.
    """

    set_name: str
    student: str
    seed: int
    digest: str
    items: int
    bytes: int
    iterations: int
    confusion: list[list[int]]
    boundary: list[list[int]]
    wall_s: float
    peak_memory_gib: float

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix as int64."""
        return np.array(self.confusion, dtype=np.int64)

    @property
    def boundary_counts(self) -> np.ndarray:
        """The counts near contours as int64."""
        return np.array(self.boundary, dtype=np.int64)


def train_students(jobs: Sequence[StudentJob], folder: Path, workers: int, progress: Progress) -> list[StudentRecord]:
    """The records of all jobs, in their order; students whose record is on disk are not trained again.

    Args:
        folder: of the run.
        workers: processes that train side by side.
    """
    missing = [job for job in jobs if not _record_path(folder, job).exists()]
    done = len(jobs) - len(missing)
    with progress.task("students", len(jobs), done) as task, _pool(min(workers, len(missing))) as submit:
        for record in submit(missing):
            write_json(_record_path(folder, record), asdict(record))
            task.advance(note=f"{record.set_name}, {record.student}")
    return [StudentRecord(**read_json(_record_path(folder, job))) for job in jobs]


def train_student(job: StudentJob) -> StudentRecord:
    """Trains and scores one student; runs in any process."""
    torch.set_num_threads(job.threads)
    device = torch.device(job.device)
    pairs, test = _training_pairs(job), _split_pairs(job.data, job.data.test)
    names = open_split(job.data, job.data.test).space.names
    autocast = autocast_dtype(device)
    with stopwatch() as watch:
        net = _new_network(job, len(names))
        seed = seed_for(job.seed, "student-training")
        train(net, pairs, train_settings(job.protocol), seed=seed, device=device, autocast=autocast)
        counts = measure(net, test, device=device, autocast=autocast)
    if job.keep is not None:
        save_segmenter(net, job.keep, names)
    return StudentRecord(
        set_name=job.set_name,
        student=job.student,
        seed=job.seed,
        digest=job.digest,
        items=len(pairs),
        bytes=_png_size(pairs),
        iterations=job.protocol.iterations,
        confusion=counts.confusion.tolist(),
        boundary=counts.boundary.tolist(),
        wall_s=round(watch.wall_s, 2),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def num_workers(asked: int, device: torch.device) -> int:
    """How many students are trained side by side: as many as asked for, or what suits the device where that is 0."""
    if asked:
        return asked
    return num_cores() if device.type == "cpu" else 1


def _new_network(job: StudentJob, num_classes: int) -> Network:
    seed = seed_for(job.seed, "student")
    if job.architecture.name == "compact-unet":
        return new_unet(num_classes, job.protocol.width, seed)
    return new_segmenter(job.architecture.name, num_classes, seed=seed, backbone=job.architecture.backbone)


def _training_pairs(job: StudentJob) -> PairSource:
    dataset = open_split(job.data, job.data.train) if job.folder is None else DistilledSet(job.folder)
    return open_pairs(dataset, job.ids, job.data.memory_gib)


def _png_size(pairs: PairSource) -> int:
    """Bytes of the pairs as PNG; from `NUM_SIZED` evenly spread ones where there are more."""
    num_sized = min(len(pairs), NUM_SIZED)
    spread = [len(pairs) * index // num_sized for index in range(num_sized)]
    size = 0
    for batch in pairs.batches(spread[part.start : part.stop] for part in in_order(num_sized, 16)):
        images = batch.images.permute(0, 2, 3, 1).contiguous().numpy()
        size += sum(len(png_bytes(array)) for array in (*images, *batch.masks.numpy()))
    return round(size * len(pairs) / num_sized)


def _split_pairs(data: DataConfig, split: str) -> PairSource:
    return _cached_split_pairs(data.model_dump_json(), split)


@lru_cache(maxsize=1)
def _cached_split_pairs(data_json: str, split: str) -> PairSource:
    # A worker scores many students on one test split: it is read once.
    data = DataConfig.model_validate_json(data_json)
    dataset = open_split(data, split)
    return open_pairs(dataset, dataset.ids, data.memory_gib)


@contextmanager
def _pool(workers: int) -> Iterator[Submit]:
    """Small networks gain more from one core each than from sharing them."""
    if workers <= 1:
        yield lambda jobs: map(train_student, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent) as pool:

        def submit(jobs: Sequence[StudentJob]) -> Iterator[StudentRecord]:
            for future in as_completed([pool.submit(train_student, job) for job in jobs]):
                yield future.result()

        yield submit


def _record_path(folder: Path, student: StudentJob | StudentRecord) -> Path:
    names = (re.sub(r"[^A-Za-z0-9.+-]+", "_", name) for name in (student.set_name, student.student))
    return folder / STUDENTS / f"{'-'.join(names)}-{student.seed}-{student.digest[:12]}.json"
