"""Stage evaluate: students from scratch on every set, the same protocol for all, several seeds, one table.

A student is one small piece of work whose record is kept under a digest of all that it depends on, so that a stopped
evaluation goes on, and a student that several tables need is trained once.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from d3s2.base.files import read_json, sha256_text, write_json
from d3s2.base.runtime import autocast_dtype, commit, hardware, num_cores, peak_memory_gib, stopwatch, versions
from d3s2.base.seeds import numpy_generator, seed_for
from d3s2.data.census import MaskCensus
from d3s2.data.dataset import stamp
from d3s2.data.image_files import png_bytes
from d3s2.data.pairs import PairSource, in_order, open_pairs
from d3s2.metrics import iou_per_class, mean_iou, rarest_classes
from d3s2.nets.loading import save_segmenter
from d3s2.report.records import Results, SetResult, mean_and_std, write_results
from d3s2.stages.config import DataConfig, EvaluateConfig, TrainConfig
from d3s2.stages.fit import new_unet, train_settings
from d3s2.stages.judges import JUDGE, JUDGES, judge_sets
from d3s2.stages.run import Run, open_split
from d3s2.stages.select import census_of, choose_masks
from d3s2.stages.synthesize import UNGUIDED
from d3s2.store.reader import DistilledSet
from d3s2.student.predict import score
from d3s2.student.train import train

Submit = Callable[[Sequence["StudentJob"]], Iterator["StudentRecord"]]
STUDENT = "compact-unet"
STUDENTS = "students"
RESULTS = "results.json"
NUM_SIZED = 4096


@dataclass(frozen=True)
class StudentJob:
    """One student: which pairs, which protocol, which seed. Travels to another process.

    Args:
        set_name: 'random', 'balanced', 'distilled-unguided', 'distilled' or 'all'.
        digest: of everything that the result depends on.
        data: for real sets, and for the test split.
        ids: of the training pairs.
        folder: of a distilled set; None for real pairs.
        keep: where to store the trained network; None drops it.
    """

    set_name: str
    seed: int
    digest: str
    data: DataConfig
    ids: tuple[str, ...]
    folder: Path | None
    protocol: TrainConfig
    device: str
    threads: int
    keep: Path | None = None


@dataclass(frozen=True)
class StudentRecord:
    """What came out of one student.

    Args:
        items: training pairs.
        bytes: of the training pairs as PNG at the working size, estimated from `NUM_SIZED` of them where there are
            more.
        confusion: pixels of (true class, predicted class) over the test split.
    """

    set_name: str
    seed: int
    digest: str
    items: int
    bytes: int
    confusion: list[list[int]]
    wall_s: float
    peak_memory_gib: float

    @property
    def matrix(self) -> np.ndarray:
        """The confusion matrix as int64."""
        return np.array(self.confusion, dtype=np.int64)


def evaluate(run: Run, command: str = "") -> Results:
    """Trains the students that are not there yet and writes results.json and judges.json into the run's folder."""
    census = census_of(run)
    records = train_students(run, choose_masks(run, census, "class-balanced").ids)
    results = Results(
        sets=tuple(_set_result(run, name, records, census) for name in run.config.evaluate.sets),
        class_names=census.class_names,
        tail_classes=rarest_classes(census.images_per_class),
        dataset=run.test_data.name,
        hardware=hardware(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        command=command,
        versions=versions(),
    )
    write_results(run.folder / RESULTS, results)
    distilled = [name for name in run.config.evaluate.sets if name.startswith("distilled")]
    write_json(run.folder / JUDGES, judge_sets(run, {name: _folder_of(run, name) for name in distilled}))
    return results


def _set_result(run: Run, name: str, records: Sequence[StudentRecord], census: MaskCensus) -> SetResult:
    mine = [record for record in records if record.set_name == name]
    tail = rarest_classes(census.images_per_class)
    mious = [mean_iou(record.matrix) for record in mine]
    miou_mean, miou_std = mean_and_std(mious)
    tail_mean, tail_std = mean_and_std([mean_iou(record.matrix, tail) for record in mine])
    per_class = np.stack([iou_per_class(record.matrix) for record in mine])
    # A class that no mask of the test split holds is absent for every seed, or predicted by some: then it is 0 there.
    known = ~np.isnan(per_class).all(axis=0)
    means = [float(np.nanmean(column)) if there else None for column, there in zip(per_class.T, known, strict=True)]
    return SetResult(
        name=name,
        items=mine[0].items,
        bytes=mine[0].bytes,
        student=STUDENT,
        seeds=tuple(record.seed for record in mine),
        iterations=run.config.evaluate.train.iterations,
        miou_mean=miou_mean,
        miou_std=miou_std,
        tail_miou_mean=tail_mean,
        tail_miou_std=tail_std,
        miou_per_seed=tuple(mious),
        iou_per_class=tuple(means),
        wall_s=round(sum(record.wall_s for record in mine), 1),
        peak_memory_gib=max(record.peak_memory_gib for record in mine),
    )


def train_students(run: Run, balanced: Sequence[str]) -> list[StudentRecord]:
    """Every student of the evaluation, in the order of sets and seeds; those on disk are not trained again.

    Args:
        balanced: ids of the class-balanced real masks; other sets follow from the run.
    """
    config = run.config.evaluate
    jobs = list(_jobs(run, config, balanced))
    missing = [job for job in jobs if not _record_path(run.folder, job).exists()]
    label, done = "students", len(jobs) - len(missing)
    with run.progress.task(label, len(jobs), done) as task, _workers(run, config, len(missing)) as submit:
        for record in submit(missing):
            write_json(_record_path(run.folder, record), asdict(record))
            task.advance(note=record.set_name)
    return [StudentRecord(**read_json(_record_path(run.folder, job))) for job in jobs]


def random_ids(run: Run, num_masks: int, seed: int) -> tuple[str, ...]:
    """A random set of the same size; every seed of the evaluation draws its own."""
    ids = run.train_data.ids
    chosen = numpy_generator(run.config.seed, "random-set", seed).permutation(len(ids))[:num_masks]
    return tuple(ids[int(index)] for index in sorted(chosen))


def train_student(job: StudentJob) -> StudentRecord:
    """Trains and scores one student; runs in any process."""
    torch.set_num_threads(job.threads)
    device = torch.device(job.device)
    pairs, test = _training_pairs(job), _split_pairs(job.data, job.data.test)
    names = open_split(job.data, job.data.test).space.names
    autocast = autocast_dtype(device)
    with stopwatch() as watch:
        net = new_unet(len(names), job.protocol.width, seed_for(job.seed, "student"))
        seed = seed_for(job.seed, "student-training")
        train(net, pairs, train_settings(job.protocol), seed=seed, device=device, autocast=autocast)
        confusion = score(net, test, device=device, autocast=autocast)
    if job.keep is not None:
        save_segmenter(net, job.keep, names)
    return StudentRecord(
        set_name=job.set_name,
        seed=job.seed,
        digest=job.digest,
        items=len(pairs),
        bytes=_png_size(pairs),
        confusion=confusion.tolist(),
        wall_s=round(watch.wall_s, 2),
        peak_memory_gib=round(peak_memory_gib(), 2),
    )


def _jobs(run: Run, config: EvaluateConfig, balanced: Sequence[str]) -> Iterator[StudentJob]:
    test_digest = f"{run.test_data.name} {stamp(run.test_data)}"
    # Seeds outside, sets inside: a first comparison of all sets is there early.
    for seed in range(config.seeds):
        for set_name in config.sets:
            ids, folder = _members(run, set_name, seed, balanced)
            content = _content(run, ids, folder)
            settings = [content, test_digest, config.train.model_dump_json(), seed, run.config.data.size]
            yield StudentJob(
                set_name=set_name,
                seed=seed,
                digest=sha256_text("|".join(map(str, settings))),
                data=run.config.data,
                ids=ids,
                folder=folder,
                protocol=config.train,
                device=str(run.device),
                threads=1 if _num_workers(run, config) > 1 else torch.get_num_threads(),
                keep=run.models / JUDGE if (set_name, seed) == ("all", 0) else None,
            )


def _members(run: Run, set_name: str, seed: int, balanced: Sequence[str]) -> tuple[tuple[str, ...], Path | None]:
    if set_name == "random":
        return random_ids(run, len(balanced), seed), None
    if set_name == "balanced":
        return tuple(balanced), None
    if set_name == "all":
        return tuple(run.train_data.ids), None
    folder = _folder_of(run, set_name)
    return tuple(DistilledSet(folder).ids), folder


def _folder_of(run: Run, set_name: str) -> Path:
    return run.folder / UNGUIDED if set_name == "distilled-unguided" else run.folder


def _content(run: Run, ids: Sequence[str], folder: Path | None) -> str:
    """What the pairs of a set are, without reading them."""
    if folder is None:
        return sha256_text(f"{run.data_digest} {' '.join(ids)}")
    return str(DistilledSet(folder).manifest["items_sha256"])


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


def _num_workers(run: Run, config: EvaluateConfig) -> int:
    if config.workers:
        return config.workers
    return num_cores() if run.device.type == "cpu" else 1


@contextmanager
def _workers(run: Run, config: EvaluateConfig, num_jobs: int) -> Iterator[Submit]:
    """Small networks gain more from one core each than from sharing them."""
    count = min(_num_workers(run, config), max(num_jobs, 1))
    if count <= 1:
        yield lambda jobs: map(train_student, jobs)
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:

        def submit(jobs: Sequence[StudentJob]) -> Iterator[StudentRecord]:
            for future in as_completed([pool.submit(train_student, job) for job in jobs]):
                yield future.result()

        yield submit


def _record_path(folder: Path, student: StudentJob | StudentRecord) -> Path:
    return folder / STUDENTS / f"{student.set_name}-{student.seed}-{student.digest[:12]}.json"
