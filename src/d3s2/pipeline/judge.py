"""Step judge: what networks say of the synthetic images, kept in judges.json.

Images are read in parts, pieces of work that any executor runs; what was read of them is merged in their order.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from d3s2.base.fingerprint import digest_of
from d3s2.base.formats.files import sha256_file
from d3s2.base.formats.records import read_object
from d3s2.base.machine.determinism import reproducible
from d3s2.data import SegmentationDataset
from d3s2.data.strips import with_composed
from d3s2.evaluation import parse_set
from d3s2.evaluation.judges import (
    ALL_REAL,
    INDEPENDENT,
    TEACHER,
    judge_sets,
    judged_images,
    judgements_depend_on,
    load_facts,
    merged_facts,
    read_facts,
    save_facts,
)
from d3s2.execution import Piece, Task, Work, executor_of
from d3s2.judgements import OWN_REAL, UNSEEN_REAL, Judgements, read_judgements, write_judgements
from d3s2.nets import Segmenter, load_segmenter
from d3s2.pipeline.fitting.fit import teacher_digest
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run, set_folder
from d3s2.pipeline.work.workers import needs_of, worker_run, workers_for_models
from d3s2.set_names import HERE
from d3s2.store import DistilledSet

JUDGES = "judges.json"
JUDGE = "judge"  # in the run's models: the first student of all real data. Never a guide, so it may judge
PARTS = "judges.parts"
IMAGES_A_PART, MOST_PARTS = 128, 256


@dataclass(frozen=True)
class Part:
    """Images that are read together.

    Args:
        name: of what they are part of, a key of `judged_images`.
        path: where what was read of them is written.
    """

    name: str
    ids: tuple[str, ...]
    path: Path


def judge(run: Run) -> Judgements:
    """Judges the distilled sets of a run; reads what is there where nothing changed."""
    sets, teacher, path = _own_sets(run), fit_teacher(run), run.folder / JUDGES
    digest = _digest(run, sets, teacher)
    if path.exists() and read_object(path).get("digest") == digest:
        return read_judgements(path)
    parts = _read_images(run, sets, teacher, digest)
    facts = {
        name: merged_facts((load_facts(part.path) for part in some), sum(len(part.ids) for part in some))
        for name, some in parts.items()
    }
    found = judge_sets(facts, sets, run.train_data.ids, digest=digest, device=run.device)
    write_judgements(path, found)
    shutil.rmtree(run.folder / PARTS, ignore_errors=True)
    return found


def read_for_judges(run: Run) -> None:
    """What judges need of images; `judge` finds it there."""
    sets, teacher = _own_sets(run), fit_teacher(run)
    _read_images(run, sets, teacher, _digest(run, sets, teacher))


def _read_images(run: Run, sets: Mapping[str, DistilledSet], teacher: Segmenter, digest: str) -> dict[str, list[Part]]:
    """The parts of all images by what they are, each with what was read of it on disk."""
    images = judged_images(sets, run.train_data.ids, run.test_data.ids, run.config.seed)
    parts = {name: _parts(name, ids, run.folder / PARTS / digest[:12]) for name, ids in images.items()}
    every = [part for some in parts.values() for part in some]
    executor = executor_of(run.execution, run.folder, run.device, workers=workers_for_models(run))
    pieces = [Piece(part.path.stem, part) for part in every if executor.shares or not _is_done(part)]
    here = partial(_read_part, run, _judges(run, teacher)) if executor.in_this_process and pieces else None
    work = Work("judges", _begin, worker_run(run), needs_of(run.device), here=here, is_done=_is_done)
    with run.progress.task("judges read images", len(every), done=len(every) - len(pieces)) as task:
        for _ in run.logged(work.step, executor.run(work, pieces)):
            task.advance()
    return parts


def _parts(name: str, ids: tuple[str, ...], folder: Path) -> list[Part]:
    each = max(IMAGES_A_PART, -(-len(ids) // MOST_PARTS))  # of the images alone: what is read together decides digits
    return [
        Part(name, ids[start : start + each], folder / f"{name}-{number:04d}.safetensors")
        for number, start in enumerate(range(0, len(ids), each))
    ]


def _is_done(part: Part) -> bool:
    return part.path.exists()


def _begin(run: Run) -> Task[Part, None]:
    return partial(_read_part, run, _judges(run, fit_teacher(run)))


def _read_part(run: Run, judges: Mapping[str, Segmenter], part: Part) -> None:
    data, scored = _images_of(run, part), part.name != ALL_REAL
    with reproducible(run.device):
        save_facts(read_facts(judges, data, part.ids, scored=scored, device=run.device), part.path)


def _images_of(run: Run, part: Part) -> SegmentationDataset:
    if part.name == UNSEEN_REAL:
        return run.test_data
    if part.name in (ALL_REAL, OWN_REAL):
        return with_composed(run.train_data, part.ids)
    return DistilledSet(set_folder(run, part.name))


def _judges(run: Run, teacher: Segmenter) -> dict[str, Segmenter]:
    judges = {TEACHER: teacher}
    if (run.models / JUDGE).is_dir():
        judges[INDEPENDENT] = load_segmenter(run.models / JUDGE, run.train_data.space.names, device=run.device)
    return judges


def _own_sets(run: Run) -> dict[str, DistilledSet]:
    """The distilled sets of this run among those compared, alone or as part of a mix."""
    sources = dict.fromkeys(part.source for name in run.config.evaluate.sets for part in parse_set(name))
    return {source: DistilledSet(set_folder(run, source)) for source in sources if source in HERE}


def _digest(run: Run, sets: Mapping[str, DistilledSet], teacher: Segmenter) -> str:
    independent = {path.name: sha256_file(path) for path in sorted((run.models / JUDGE).glob("*.safetensors"))}
    return digest_of(
        "judges",
        {
            **judgements_depend_on(sets),
            "teacher": teacher_digest(teacher),
            "independent": independent,
            "data": [run.data_digest, run.test_digest],
            "seed": run.config.seed,
        },
    )
