"""Students of an evaluation: one small piece of work each, kept under a digest of all that it depends on.

So a stopped evaluation goes on, and a student that several tables need is trained once.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import Queue, get_context
from pathlib import Path

import numpy as np
import torch

from d3s2.base.errors import WorkError
from d3s2.base.files import read_json, write_json
from d3s2.base.progress import Progress
from d3s2.base.runtime import num_cores, peak_memory_gib, stopwatch, torch_threads
from d3s2.base.seeds import seed_for
from d3s2.base.workers import end_with_parent
from d3s2.data.image_files import png_bytes
from d3s2.data.pairs import PairSource, in_order, open_pairs
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import Network, save_segmenter
from d3s2.stages.config import ArchitectureConfig, DataConfig, InferenceConfig, TrainConfig
from d3s2.stages.fit import new_unet, precision_of, train_settings
from d3s2.stages.run import open_split
from d3s2.stages.sets import Members, open_members, soft_bytes_of, soft_of
from d3s2.student.predict import Sliding, measure
from d3s2.student.soft import SoftSource
from d3s2.student.train import train

Submit = Callable[[Sequence["StudentJob"]], Iterator["StudentRecord"]]
STUDENTS = "students"
THREADS = 1  # of a student on a CPU, however many work side by side: the order of sums depends on it
NUM_SIZED = 4096


@dataclass(frozen=True)
class StudentJob:
    """One student: which pairs, which network and protocol, which seed. Travels to another process.

    Args:
        set_name: what tables call the set.
        architecture: which network.
        digest: of everything that the result depends on.
        data: for real sets, and for the test split.
        members: the training pairs.
        protocol: of the training, this architecture's settings taken in.
        soft_weight: share of the loss that soft labels have, where there are any.
        inference: windows of prediction; None predicts whole images.
        checkpoint: file that a long training keeps meanwhile.
        checkpoint_s: seconds between two writings of it.
        keep: where to store the trained network; None drops it.
    """

    set_name: str
    architecture: ArchitectureConfig
    seed: int
    digest: str
    data: DataConfig
    members: tuple[Members, ...]
    protocol: TrainConfig
    soft_weight: float
    inference: InferenceConfig | None
    device: str
    checkpoint: Path
    checkpoint_s: float
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
            more, and of the soft labels that were learnt from.
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


def train_students(
    jobs: Sequence[StudentJob], folder: Path, devices: Sequence[str], workers: int, progress: Progress
) -> list[StudentRecord]:
    """The records of all jobs, in their order; students whose record is on disk are not trained again.

    Args:
        folder: of the run.
        devices: where students are trained; workers take turns in choosing one.
        workers: processes that train side by side.
    """
    missing = [job for job in jobs if not record_path(folder, job).exists()]
    done = len(jobs) - len(missing)
    with progress.task("students", len(jobs), done) as task, _pool(min(workers, len(missing)), devices) as submit:
        for record in submit(missing):
            path = record_path(folder, record)
            write_json(path, asdict(record))
            checkpoint_path(path).unlink(missing_ok=True)
            task.advance(note=f"{record.set_name}, {record.student}")
    return [StudentRecord(**read_json(record_path(folder, job))) for job in jobs]


def train_student(job: StudentJob) -> StudentRecord:
    """Trains and scores one student; runs in any process, and gives the same numbers in each."""
    device = torch.device(job.device)
    with torch_threads(THREADS if device.type == "cpu" else None):
        return _train_student(job, device)


def _train_student(job: StudentJob, device: torch.device) -> StudentRecord:
    pairs = open_pairs(*open_members(job.members, job.data), job.data.memory_gib)
    soft = soft_of(job.members, job.data)
    names = open_split(job.data, job.data.test).space.names
    autocast = precision_of(job.protocol, device)
    net = _new_network(job, len(names))
    wall_s = train(
        net,
        pairs,
        train_settings(job.protocol),
        seed=seed_for(job.seed, "student-training"),
        device=device,
        autocast=autocast,
        soft=None if soft is None else SoftSource(soft, job.soft_weight),
        checkpoint=job.checkpoint,
        checkpoint_s=job.checkpoint_s,
    )
    with stopwatch() as watch:
        sliding = None if job.inference is None else Sliding(job.inference.window_px, job.inference.stride_px)
        counts = measure(net, _split_pairs(job.data, job.data.test), device=device, autocast=autocast, sliding=sliding)
    if job.keep is not None:
        save_segmenter(net, job.keep, names)
    return StudentRecord(
        set_name=job.set_name,
        student=job.student,
        seed=job.seed,
        digest=job.digest,
        items=len(pairs),
        bytes=_png_size(pairs) + soft_bytes_of(job.members),
        iterations=job.protocol.iterations,
        confusion=counts.confusion.tolist(),
        boundary=counts.boundary.tolist(),
        wall_s=round(wall_s + watch.wall_s, 2),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def devices_for(device: torch.device) -> list[str]:
    """Where students may be trained: every GPU where one was asked for without saying which."""
    if str(device) == "cuda":
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [str(device)]


def num_workers(asked: int, devices: Sequence[str]) -> int:
    """How many students are trained side by side: as many as asked for, or what suits the devices where that is 0."""
    if asked:
        return asked
    return num_cores() if devices[0] == "cpu" else len(devices)


def _new_network(job: StudentJob, num_classes: int) -> Network:
    seed = seed_for(job.seed, "student")
    if job.architecture.name == "compact-unet":
        return new_unet(num_classes, job.protocol.width, seed)
    return new_segmenter(job.architecture.name, num_classes, seed=seed, backbone=job.architecture.backbone)


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
def _pool(workers: int, devices: Sequence[str]) -> Iterator[Submit]:
    """Small networks gain more from one core each than from sharing them."""
    if workers <= 1:
        yield lambda jobs: map(train_student, jobs)
        return
    context = get_context("spawn")
    free = context.Queue()
    for number in range(workers):
        free.put(devices[number % len(devices)])
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(free,)) as pool:

        def submit(jobs: Sequence[StudentJob]) -> Iterator[StudentRecord]:
            try:
                for future in as_completed([pool.submit(train_student, job) for job in jobs]):
                    yield future.result()
            except BrokenProcessPool:
                raise WorkError(
                    "A process that trained a student was ended from outside, most often for want of memory: lower "
                    "evaluate.workers or evaluate.train.batch and run the same call again, it goes on."
                ) from None

        yield submit


def _begin_worker(free: "Queue[str]") -> None:
    end_with_parent()
    device = torch.device(free.get())
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what a job calls 'cuda' is then this one


def record_path(folder: Path, student: StudentJob | StudentRecord) -> Path:
    """Where the record of a student lies in the run's folder."""
    return student_path(folder, student.set_name, student.student, student.seed, student.digest)


def student_path(folder: Path, set_name: str, student: str, seed: int, digest: str) -> Path:
    """Where the record of a student lies in the run's folder."""
    names = (re.sub(r"[^A-Za-z0-9.+-]+", "_", name) for name in (set_name, student))
    return folder / STUDENTS / f"{'-'.join(names)}-{seed}-{digest[:12]}.json"


def checkpoint_path(record: Path) -> Path:
    """Where a long training keeps its state until its record is there."""
    return record.with_suffix(".checkpoint.pt")
