"""Step judge: what networks say of the synthetic images, kept in judges.json."""

from pathlib import Path

from d3s2.base.fingerprint import digest_of
from d3s2.base.formats.files import sha256_file
from d3s2.base.formats.records import read_object
from d3s2.evaluation import INDEPENDENT, TEACHER, judge_sets, judgements_depend_on, parse_set
from d3s2.judgements import Judgements, read_judgements, write_judgements
from d3s2.nets import Segmenter, load_segmenter
from d3s2.pipeline.fitting.fit import teacher_digest
from d3s2.pipeline.fitting.teacher import fit_teacher
from d3s2.pipeline.run import Run, set_folder
from d3s2.set_names import HERE
from d3s2.store import DistilledSet

JUDGES = "judges.json"
JUDGE = "judge"  # in the run's models: the first student of all real data. Never a guide, so it may judge


def judge(run: Run) -> Judgements:
    """Judges the distilled sets of a run; reads what is there where nothing changed."""
    sets = {name: DistilledSet(folder) for name, folder in _own_sets(run).items()}
    teacher, path = fit_teacher(run), run.folder / JUDGES
    digest = _digest(run, sets, teacher)
    if path.exists() and read_object(path).get("digest") == digest:
        return read_judgements(path)
    judges: dict[str, Segmenter] = {TEACHER: teacher}
    if (run.models / JUDGE).is_dir():
        judges[INDEPENDENT] = load_segmenter(run.models / JUDGE, run.train_data.space.names, device=run.device)
    found = judge_sets(
        sets,
        run.train_data,
        run.test_data,
        judges,
        digest=digest,
        seed=run.config.seed,
        device=run.device,
        progress=run.progress,
    )
    write_judgements(path, found)
    return found


def _own_sets(run: Run) -> dict[str, Path]:
    """The distilled sets of this run among those compared, alone or as part of a mix."""
    sources = dict.fromkeys(part.source for name in run.config.evaluate.sets for part in parse_set(name))
    return {source: set_folder(run, source) for source in sources if source in HERE}


def _digest(run: Run, sets: dict[str, DistilledSet], teacher: Segmenter) -> str:
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
