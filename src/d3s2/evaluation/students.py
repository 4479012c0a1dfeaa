"""Students of an evaluation: one small piece of work each, kept under a digest of all that it depends on.

So a stopped evaluation is resumed, and a student that several tables need is trained once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from pathlib import Path
from typing import Any

import torch

from d3s2.base.formats.files import write_json
from d3s2.base.machine.cores import num_cores
from d3s2.base.machine.launch import run_together
from d3s2.base.machine.runtime import peak_memory_gib, pick_device, stopwatch, torch_threads
from d3s2.base.progress import Progress
from d3s2.base.seeds import seed_for
from d3s2.data import DataSettings, PairSource, open_pairs, open_split
from d3s2.evaluation.members import Members, Sizes, open_members, sizes_of, soft_bytes_of, soft_of
from d3s2.evaluation.settings import ArchitectureSettings
from d3s2.evaluation.student_records import (
    Expected,
    StudentRecord,
    checkpoint_path,
    digest_of,
    early_path,
    read_early,
    read_record,
    write_record,
)
from d3s2.execution import Executor, Needs, Outcome, Piece, Task, Work
from d3s2.metrics import Counts, mean_iou
from d3s2.nets import new_segmenter, save_segmenter
from d3s2.student import (
    ALONE,
    Group,
    SlidingWindowSettings,
    SoftSource,
    TrainSettings,
    launched_group,
    measure,
    measure_native,
    precision_of,
    train,
)

Tell = Callable[[Iterator[Outcome[None]]], Iterator[Outcome[None]]]
ADVICE = "lower evaluate.workers or evaluate.train.batch"
THREADS = 1  # of a student on a CPU, however many work side by side: the order of sums depends on it


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
        native: whether it is scored at the size of the real masks.
        score_every: iterations between two early scores; 0 takes none.
        num_devices: that train it together.
        keep: where to store the trained network; None drops it.
    """

    set_name: str
    architecture: ArchitectureSettings
    seed: int
    depends: Mapping[str, Any]
    test_px: tuple[int, ...]
    data: DataSettings
    members: tuple[Members, ...]
    protocol: TrainSettings
    soft_weight: float
    inference: SlidingWindowSettings | None
    device: str
    record: Path
    checkpoint_s: float
    native: bool = False
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
    jobs: Sequence[StudentJob], executor: Executor, needs: Needs, progress: Progress, tell: Tell = iter
) -> list[StudentRecord]:
    """The records of all jobs, in their order; students whose record is on disk are not trained again.

    Args:
        executor: trains them.
        needs: of each.
        tell: passes outcomes on, and may keep a log of them.

    Raises:
        StoreError: a record on disk is damaged or not of the student that it is taken for; before any is trained.
    """
    for job in jobs:
        if job.record.exists():
            read_record(job.record, job.expected)
    pieces = [Piece(job.record.stem, job) for job in jobs]
    done = {piece.id for piece in pieces if _is_done(piece.content)}
    if not executor.shares:  # those who share a folder share the same pieces
        pieces = [piece for piece in pieces if piece.id not in done]
    names = {piece.id: f"{piece.content.set_name}, {piece.content.student}" for piece in pieces}
    work = Work("students", _begin, None, needs, ADVICE, is_done=_is_done)
    with progress.task("students", len(jobs), len(done)) as task:
        for outcome in tell(executor.run(work, pieces)):
            task.advance(int(outcome.piece not in done), note=names[outcome.piece])
    return [read_record(job.record, job.expected) for job in jobs]


def _begin(_: None) -> Task[StudentJob, None]:
    return keep_student


def _is_done(job: StudentJob) -> bool:
    return job.record.exists()


def keep_student(job: StudentJob) -> None:
    """Trains and scores one student, and writes its record, last of all that it leaves."""
    write_record(job.record, train_student(job))
    checkpoint_path(job.record).unlink(missing_ok=True)
    early_path(job.record).unlink(missing_ok=True)


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
    """The record; complete in the main process of the group, which also keeps the network."""
    pairs = open_pairs(*open_members(job.members, job.data), job.data.memory_gib)
    soft = soft_of(job.members, job.data)
    names = open_split(job.data, job.data.test).space.names
    autocast = precision_of(job.protocol, device)
    net = new_segmenter(
        job.architecture.name,
        len(names),
        seed=seed_for(job.seed, "student"),
        width=job.protocol.width,
        backbone=job.architecture.backbone,
        revision=job.architecture.backbone_revision,
    )
    first = group.index == 0

    def measured() -> Counts:
        if job.native:
            split = open_split(job.data, job.data.test)
            return measure_native(net, split, device=device, autocast=autocast, sliding=job.inference, group=group)
        return measure(net, _test_pairs(job), device=device, autocast=autocast, sliding=job.inference, group=group)

    def score_early(iterations: int) -> None:
        miou = mean_iou(measured().confusion)
        if first and not isnan(miou):
            _note_early(job, iterations, miou)

    wall_s = train(
        net,
        pairs,
        job.protocol,
        seed=seed_for(job.seed, "student-training"),
        device=device,
        autocast=autocast,
        soft=None if soft is None else SoftSource(soft, job.soft_weight),
        checkpoint=checkpoint_path(job.record),
        checkpoint_s=job.checkpoint_s,
        group=group,
        callback=score_early,
        callback_every=job.score_every,
    )
    with stopwatch() as watch:
        counts = measured()
    if first and job.keep is not None:
        save_segmenter(net, job.keep, names)
    sizes, soft_bytes = (sizes_of(pairs), soft_bytes_of(job.members)) if first else (Sizes(0, 0), 0)
    return StudentRecord(
        set_name=job.set_name,
        student=job.student,
        seed=job.seed,
        digest=job.digest,
        depends=dict(job.depends),
        items=len(pairs),
        bytes=sizes.png + soft_bytes,
        jpeg_bytes=sizes.jpeg + soft_bytes,
        iterations=job.protocol.iterations,
        confusion=counts.confusion.tolist(),
        boundary=counts.boundary.tolist(),
        wall_s=round(wall_s + watch.wall_s, 2),
        peak_memory_gib=round(peak_memory_gib(), 2),
        early=_early_scores(job),
    )


def _early_scores(job: StudentJob) -> dict[str, float]:
    path = early_path(job.record)
    return read_early(path) if path.exists() else {}


def _note_early(job: StudentJob, iterations: int, miou: float) -> None:
    """Into a file that can be watched; what was scored after the last checkpoint is scored again on resume."""
    write_json(early_path(job.record), _early_scores(job) | {str(iterations): round(miou, 6)})


def _test_pairs(job: StudentJob) -> PairSource:
    return _pairs_with_digest(job.depends["test"], job.data.model_dump_json())


@lru_cache(maxsize=1)
def _pairs_with_digest(digest: str, data_json: str) -> PairSource:
    """The test split, read once for the many students that a worker scores on it.

    Args:
        digest: of what the split holds: the config alone says where it lies, and there may be other data since.
        data_json: the config.
    """
    data = DataSettings.model_validate_json(data_json)
    dataset = open_split(data, data.test)
    return open_pairs(dataset, dataset.ids, data.memory_gib)
