"""Kept tables under the rule that the classes of the truth decide which count in a mean.

    python benchmarks/recount.py benchmarks/ccp_*.json --root PATH/TO/CCP         writes the files anew
    python benchmarks/recount.py benchmarks/scenes_*.json                         data that needs no folder

Students of older versions were scored over the classes that the test masks hold and those that the student predicted
somewhere; today a class that no test mask holds counts for nobody. Confusion matrices are not kept, but the IoU of each
class is, as a mean over seeds, and so is the mIoU of each seed:

    variable  symbol  meaning
    truth     T       classes that a test mask holds, counted from the data
    per_class I_c     IoU of class c, mean over the seeds; a class outside T has 0 or none
    counted   n_s     classes that counted for seed s before: from |T| to |T| and the classes outside it with a 0
    old       m_s     mIoU of seed s before, (sum over T of IoU_c,s) / n_s

The mean over seeds is exact: mean of I_c over T. That of a seed is m_s n_s / |T|; the integers n_s follow from
sum_s m_s n_s = S |T| mean(I_c), where one combination alone fits. What cannot be told is null, and named in the file.
Files are those of the first format of results, in which every score has keys of its own.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from d3s2.base.formats.files import read_json, write_json
from d3s2.base.machine.runtime import commit
from d3s2.data.catalogue import open_split
from d3s2.data.settings import DataSettings
from d3s2.metrics.formulas import rarest_classes

CLOSE = 1e-11  # of a sum of shares; two combinations that differ by one class are 0.01 apart
CHANGED = ("miou_mean", "miou_std", "miou_per_seed", "tail_miou_mean", "tail_miou_std")
RULE = "a class counts where a test mask holds it; before, also where a student predicted it somewhere"
HOW = (
    "miou_mean and tail_miou_mean are exact, from iou_per_class; miou_per_seed is the seed's first value times "
    "num_counted / num_classes, with num_counted the one combination of integers that agrees with the mean; values "
    "before are in as_first_kept, with the stray classes, whose IoU was 0; null: cannot be told from what is kept"
)


def main() -> None:
    """Reads the call; writes the files anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--root", type=Path, help="folder of the data set, where it is not made by the package")
    asked = parser.parse_args()
    for path in asked.files:
        kept = read_json(path)
        rows = kept["sets"] if "sets" in kept else [row["result"] for row in kept["rows"]]
        if "recounted" in kept or "scores" in rows[0]:  # later formats are counted so from the beginning
            print(f"{path}: is counted anew already", file=sys.stderr)
            continue
        truth, tail = classes_of(kept, asked.root)
        absent = [index for index in range(len(rows[0]["iou_per_class"])) if index not in truth]
        changed = [recount(row, truth, tail) for row in rows] if absent else []
        kept["recounted"] = {
            "rule": RULE,
            "num_classes": len(truth),
            "classes_in_no_test_mask": absent,
            "rows_changed": sum(changed),
        }
        if any(changed):
            kept["recounted"] |= {"how": HOW, "not_recounted": not_recounted(kept, rows)}
        root = [] if asked.root is None else ["--root", "ROOT"]
        command = " ".join(["python", sys.argv[0], str(path), *root])
        kept["recounted"] |= {"command": command, "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
        write_json(path, kept)
        print(f"{path}: {len(truth)} classes in the truth, {sum(changed)} of {len(rows)} rows changed")


def classes_of(kept: dict[str, Any], root: Path | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Train ids that the test masks of a kept run hold, and those of the rarest third of the training masks."""
    values = {DataSettings.renamed.get(key, key): value for key, value in kept["config"]["data"].items()}
    data = DataSettings.model_validate(values | ({"root": str(root)} if root else {}))
    train, test = (num_masks_of(data, split) for split in (data.train, kept["dataset"].rpartition("/")[2]))
    tail = rarest_classes(train)
    if tuple(kept.get("tail_classes") or tail) != tail:
        raise SystemExit(f"The tail of the kept run is {kept['tail_classes']}, that of the data {tail}: other data.")
    return tuple(np.flatnonzero(test).tolist()), tail


def num_masks_of(data: DataSettings, split: str) -> np.ndarray:
    """How many masks of a split hold each class."""
    source = open_split(data, split)
    held = np.zeros(256, dtype=np.int64)
    for item_id in source.ids:
        held += np.bincount(source.mask(item_id).ravel(), minlength=256) > 0
    return held[: source.space.num_classes]


def recount(row: dict[str, Any], truth: Sequence[int], tail: Sequence[int]) -> bool:
    """Puts the scores of one row under the rule; whether they changed."""
    per_class = row["iou_per_class"]
    stray = [index for index, share in enumerate(per_class) if share is not None and index not in truth]
    tail_in_truth = [index for index in tail if index in truth]
    mean, tail_mean = (fmean(per_class[index] for index in some) for some in (truth, tail_in_truth))
    if not stray:
        same = abs(mean - row["miou_mean"]) < CLOSE and abs(tail_mean - row["tail_miou_mean"]) < CLOSE
        assert same, (row["name"], mean, row["miou_mean"], tail_mean, row["tail_miou_mean"])
        return False
    counted = counted_of(row["miou_per_seed"], mean, len(truth), len(stray))
    row["as_first_kept"] = {key: row[key] for key in CHANGED} | {"num_counted": counted, "stray_classes": stray}
    before = row["miou_per_seed"]
    per_seed = [share * num / len(truth) for share, num in zip(before, counted, strict=True)] if counted else None
    row |= {
        "miou_mean": mean,
        "miou_per_seed": per_seed,
        "miou_std": stdev(per_seed) if per_seed and len(per_seed) > 1 else None,
        "tail_miou_mean": tail_mean,
        "iou_per_class": [share if index in truth else None for index, share in enumerate(per_class)],
    }
    if any(index in tail for index in stray):
        row["tail_miou_std"] = None
    return True


def counted_of(mious: Sequence[float], mean: float, num_classes: int, num_stray: int) -> list[int] | None:
    """How many classes counted for each seed; None where several combinations agree with the mean, or none does."""
    total = len(mious) * num_classes * mean
    choices = product(range(num_classes, num_classes + num_stray + 1), repeat=len(mious))
    found = [nums for nums in choices if abs(sum(m * n for m, n in zip(mious, nums, strict=True)) - total) < CLOSE]
    return list(found[0]) if len(found) == 1 else None


def not_recounted(kept: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[str]:
    """What stands under the rule before, since nothing kept says more."""
    named = ["tail_miou_std of rows with a stray tail class"]
    named += ["boundary_iou_mean and boundary_iou_std of changed rows"] if "boundary_iou_mean" in rows[0] else []
    return named + (["judges: teacher_miou and independent_miou"] if "judges" in kept else [])


if __name__ == "__main__":
    main()
