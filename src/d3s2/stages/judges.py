"""Judges of the synthetic images, beside the students: how well networks that are there already read them."""

from collections.abc import Mapping
from pathlib import Path

from d3s2.data.pairs import open_pairs
from d3s2.metrics import mean_iou
from d3s2.nets.loading import load_segmenter
from d3s2.stages.fit import fit_teacher
from d3s2.stages.run import Run
from d3s2.store.reader import DistilledSet
from d3s2.student.predict import score

JUDGES = "judges.json"
JUDGE = "judge"  # in the run's models: the first student of all real data. Never a guide, so it may judge


def judge_sets(run: Run, folders: Mapping[str, Path]) -> dict[str, dict[str, float]]:
    """How well networks read the synthetic images: mIoU against the masks, by set and judge.

    The teacher guided, so it flatters the guided set; a student of all real data never did.

    Args:
        folders: name of each distilled set -> where it lies.
    """
    names = run.train_data.space.names
    judges = {"teacher": fit_teacher(run)}
    if (run.models / JUDGE).is_dir():
        judges["independent"] = load_segmenter(run.models / JUDGE, names, device=run.device)
    found: dict[str, dict[str, float]] = {}
    for set_name, folder in folders.items():
        distilled = DistilledSet(folder)
        pairs = open_pairs(distilled, distilled.ids, run.config.data.memory_gib)
        found[set_name] = {
            name: round(mean_iou(score(net, pairs, device=run.device)), 4) for name, net in judges.items()
        }
    return found
