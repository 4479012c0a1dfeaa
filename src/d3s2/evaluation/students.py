"""Students of an evaluation: one small piece of work each, kept under a digest of all that it depends on.

So a stopped evaluation goes on, and a student that several tables need is trained once.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from multiprocessing import Queue, active_children, get_context
from pathlib import Path
from typing import Any

import torch

from d3s2.base.cores import num_cores
from d3s2.base.errors import UsageError, WorkError
from d3s2.base.files import read_json, write_json
from d3s2.base.launch import run_together
from d3s2.base.progress import Progress
from d3s2.base.runtime import peak_memory_gib, pick_device, stopwatch, torch_threads
from d3s2.base.seeds import seed_for
from d3s2.base.workers import ending, spawned_pool
from d3s2.data.pairs import PairSource, open_pairs
from d3s2.evaluation.sets import Members, open_members, png_size, soft_bytes_of, soft_of
from d3s2.evaluation.student_records import (
    Expected,
    StudentRecord,
    checkpoint_path,
    digest_of,
    early_path,
    read_record,
    student_path,
    write_record,
)
from d3s2.metrics import mean_iou
from d3s2.nets.fresh import new_segmenter
from d3s2.nets.loading import Network, save_segmenter
from d3s2.pipeline.config import ArchitectureConfig, DataConfig, InferenceConfig, TrainConfig
from d3s2.pipeline.fit import new_unet, precision_of, train_settings
from d3s2.pipeline.run import open_split
from d3s2.student.group import ALONE, Group, launched_group
from d3s2.student.predict import Counts, Sliding, measure
from d3s2.student.soft import SoftSource
from d3s2.student.train import train

Submit = Callable[[Sequence["StudentJob"]], Iterator["StudentRecord"]]
Devices = tuple[str, ...]
"""Where one student is trained, by one process each."""

THREADS = 1  # of a student on a CPU, however many work side by side: the order of sums depends on it
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class StudentJob:
    """One student: which pairs, which network and protocol, which seed. Travels to another process.

    Args:
        set_name: what tables call the set.
        architecture: which network.
        depends: everything that the result depends on, as JSON values; `digest` is taken of it.
        test_px: pixels of each class in the test split.
        data: for real sets, and for the test split.
        members: the training pairs.
        protocol: of the training, this architecture's settings taken in.
        soft_weight: share of the loss that soft labels have, where there are any.
        inference: windows of prediction; None predicts whole images.
        record: where what comes out is kept; checkpoint and early scores lie beside it meanwhile.
        checkpoint_s: seconds between two writings of it.
        score_every: iterations between two early scores; 0 takes none.
        num_devices: that train it together.
        keep: where to store the trained network; None drops it.
    """

    set_name: str
    architecture: ArchitectureConfig
    seed: int
    depends: Mapping[str, Any]
    test_px: tuple[int, ...]
    data: DataConfig
    members: tuple[Members, ...]
    protocol: TrainConfig
    soft_weight: float
    inference: InferenceConfig | None
    device: str
    record: Path
    checkpoint_s: float
    score_every: int = 0
    num_devices: int = 1
    keep: Path | None = None

    @property
    def student(self) -> str:
        """What tables call the architecture."""
        return self.architecture.student

    @property
    def digest(self) -> str:
        """Of everything that the result depends on."""
        return digest_of(self.depends)

    @property
    def expected(self) -> Expected:
        """What its record must say."""
        items = sum(len(part.ids) for part in self.members)
        return Expected(self.set_name, self.student, self.depends, items, self.test_px)


def train_students(
    jobs: Sequence[StudentJob], folder: Path, places: Sequence[Devices], workers: int, progress: Progress
) -> list[StudentRecord]:
    """The records of all jobs, in their order; students whose record is on disk are not trained again.

    Args:
        folder: of the run.
        places: where students are trained; workers take turns in choosing one.
        workers: students that are trained side by side.

    Raises:
        StoreError: a record on disk is damaged or not of the student that it is taken for; before any is trained.
    """
    for job in jobs:
        if job.record.exists():
            read_record(job.record, job.expected)
    missing = [job for job in jobs if not job.record.exists()]
    done = len(jobs) - len(missing)
    with progress.task("students", len(jobs), done) as task, _pool(min(workers, len(missing)), places) as submit:
        for record in submit(missing):
            path = student_path(folder, record.set_name, record.student, record.seed, record.digest)
            write_record(path, record)
            checkpoint_path(path).unlink(missing_ok=True)
            early_path(path).unlink(missing_ok=True)
            task.advance(note=f"{record.set_name}, {record.student}")
    return [read_record(job.record, job.expected) for job in jobs]


def train_student(job: StudentJob) -> StudentRecord:
    """Trains and scores one student; runs in any process, and gives the same numbers in each."""
    if job.num_devices > 1:
        work = f"trained {job.student} on '{job.set_name}'"
        return run_together(_train_in_group, job, num_processes=job.num_devices, work=work)
    device = torch.device(job.device)
    with torch_threads(THREADS if device.type == "cpu" else None):
        return _train_student(job, device, ALONE)


def _train_in_group(job: StudentJob) -> StudentRecord:
    device = pick_device(job.device)
    threads = THREADS if device.type == "cpu" else max(1, num_cores() // job.num_devices)
    with launched_group(device) as group, torch_threads(threads):
        return _train_student(job, device, group)


def _train_student(job: StudentJob, device: torch.device, group: Group) -> StudentRecord:
    """The record; whole in the first process of the group, which also keeps the network."""
    pairs = open_pairs(*open_members(job.members, job.data), job.data.memory_gib)
    soft = soft_of(job.members, job.data)
    names = open_split(job.data, job.data.test).space.names
    autocast = precision_of(job.protocol, device)
    net = _new_network(job, len(names))
    sliding = None if job.inference is None else Sliding(job.inference.window_px, job.inference.stride_px)
    first = group.index == 0

    def measured() -> Counts:
        return measure(net, _test_pairs(job), device=device, autocast=autocast, sliding=sliding, group=group)

    def score_early(iterations: int) -> None:
        miou = mean_iou(measured().confusion)
        if first and not isnan(miou):
            _note_early(job, iterations, miou)

    wall_s = train(
        net,
        pairs,
        train_settings(job.protocol),
        seed=seed_for(job.seed, "student-training"),
        device=device,
        autocast=autocast,
        soft=None if soft is None else SoftSource(soft, job.soft_weight),
        checkpoint=checkpoint_path(job.record),
        checkpoint_s=job.checkpoint_s,
        group=group,
        look=score_early,
        look_every=job.score_every,
    )
    with stopwatch() as watch:
        counts = measured()
    if first and job.keep is not None:
        save_segmenter(net, job.keep, names)
    return StudentRecord(
        set_name=job.set_name,
        student=job.student,
        seed=job.seed,
        digest=job.digest,
        depends=dict(job.depends),
        items=len(pairs),
        bytes=png_size(pairs) + soft_bytes_of(job.members) if first else 0,
        iterations=job.protocol.iterations,
        confusion=counts.confusion.tolist(),
        boundary=counts.boundary.tolist(),
        wall_s=round(wall_s + watch.wall_s, 2),
        peak_memory_gib=round(peak_memory_gib(), 2),
        early=_early_scores(job),
    )


def _early_scores(job: StudentJob) -> dict[str, float]:
    path = early_path(job.record)
    return read_json(path) if path.exists() else {}


def _note_early(job: StudentJob, iterations: int, miou: float) -> None:
    """Into a file that can be watched; what a sitting that was stopped had scored after its checkpoint comes again."""
    write_json(early_path(job.record), _early_scores(job) | {str(iterations): round(miou, 6)})


def places_for(device: torch.device, num_devices: int) -> list[Devices]:
    """Where students may be trained, `num_devices` each: on every GPU where one was asked for without saying which.

    Raises:
        UsageError: there are not so many.
    """
    if device.type == "cpu":
        return [(str(device),) * num_devices]
    devices = [str(device)]
    if str(device) == "cuda":
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if num_devices > len(devices):
        raise UsageError(
            f"evaluate.devices_per_student is {num_devices}, and --device {device} means {len(devices)} here; lower "
            "it, or give --device cuda for every GPU there is."
        )
    starts = range(0, len(devices) - num_devices + 1, num_devices)
    return [tuple(devices[start : start + num_devices]) for start in starts]


def num_workers(asked: int, places: Sequence[Devices]) -> int:
    """How many students are trained side by side: as many as asked for, or what suits the places where that is 0.

    Students that are trained on several GPUs each do not share one.
    """
    if places[0][0] == "cpu":
        return asked or max(1, num_cores() // len(places[0]))
    if not asked:
        return len(places)
    return asked if len(places[0]) == 1 else min(asked, len(places))


def _new_network(job: StudentJob, num_classes: int) -> Network:
    seed = seed_for(job.seed, "student")
    if job.architecture.name == "compact-unet":
        return new_unet(num_classes, job.protocol.width, seed)
    return new_segmenter(
        job.architecture.name,
        num_classes,
        seed=seed,
        backbone=job.architecture.backbone,
        revision=job.architecture.backbone_revision,
    )


def _test_pairs(job: StudentJob) -> PairSource:
    return _pairs_with_digest(job.depends["test"], job.data.model_dump_json())


@lru_cache(maxsize=1)
def _pairs_with_digest(digest: str, data_json: str) -> PairSource:
    """The test split, read once for the many students that a worker scores on it.

    Args:
        digest: of what the split holds: the config alone says where it lies, and there may be other data since.
        data_json: the config.
    """
    data = DataConfig.model_validate_json(data_json)
    dataset = open_split(data, data.test)
    return open_pairs(dataset, dataset.ids, data.memory_gib)


@contextmanager
def _pool(workers: int, places: Sequence[Devices]) -> Iterator[Submit]:
    """Small networks gain more from one core each than from sharing them."""
    if workers <= 1:
        yield lambda jobs: map(train_student, jobs)
        return
    free = get_context("spawn").Queue()
    for number in range(workers):
        free.put(places[number % len(places)])
    others = set(active_children())
    with spawned_pool(workers, _begin_worker, free) as pool:

        def submit(jobs: Sequence[StudentJob]) -> Iterator[StudentRecord]:
            try:
                for future in as_completed([pool.submit(ending, train_student, job) for job in jobs]):
                    yield future.result()
            except BrokenProcessPool:
                raise WorkError(
                    "A process that trained a student was ended from outside, most often for want of memory: lower "
                    "evaluate.workers or evaluate.train.batch and run the same call again, it goes on."
                ) from None

        try:
            yield submit
        except BaseException:  # or the pool would wait for what is in work, and begin what is not
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - others:
                worker.terminate()
            raise


def _begin_worker(free: "Queue[Devices]") -> None:
    place = [torch.device(name) for name in free.get()]
    if place[0].type != "cuda":
        return
    if len(place) == 1:
        torch.cuda.set_device(place[0])  # what a job calls 'cuda' is then this one
    else:  # the processes that this one starts see these only
        seen = os.environ.get(VISIBLE)
        names = seen.split(",") if seen else [str(index) for index in range(torch.cuda.device_count())]
        os.environ[VISIBLE] = ",".join(names[device.index] for device in place)
