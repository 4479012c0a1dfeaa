"""Architecture search on a distilled set: are students ranked on it as they are on all real pairs?

    python examples/architecture_search.py --out runs/search --seeds 2

Four students learn from all real pairs of `scenes`, from the distilled set, and from as many random real pairs, each
for the same number of iterations. Printed are their mIoU on scenes/val and Spearman's rank correlation with all real
pairs. With four students it takes few values: neighbours that change places make it 0.8.
"""

import argparse
from pathlib import Path
from statistics import mean

import torch
from scipy.stats import spearmanr

import d3s2
from d3s2.data import open_pairs, open_split
from d3s2.evaluation import random_ids
from d3s2.metrics import mean_iou
from d3s2.nets import new_segmenter
from d3s2.student import measure, train

STUDENTS = {  # title -> architecture, width, learning rate
    "compact-unet, 8 wide": ("compact-unet", 8, 0.003),
    "compact-unet, 16 wide": ("compact-unet", 16, 0.003),
    "compact-unet, 32 wide": ("compact-unet", 32, 0.003),
    "segformer-b0": ("segformer-b0", 16, 0.001),
}
REAL, PROXIES = "all real", ("distilled", "random real")


def search(out, changes=(), iterations=600, seeds=1):
    """Mean mIoU of each student on each set, and how each proxy's ranks correlate with those of all real pairs."""
    config, device = d3s2.load_run("scenes", changes), torch.device("cpu")
    distilled = d3s2.distill(config, out=out)
    real, val = open_split(config.data, "train"), open_split(config.data, "val")
    scored_on = open_pairs(val, val.ids, memory_gib=1.0)
    protocol = config.evaluate.train.model_copy(update={"iterations": iterations, "backbone_lr_share": 1.0})

    def pairs_of(title, seed):
        if title == "distilled":
            return open_pairs(distilled, distilled.ids, memory_gib=1.0)
        count = len(real.ids) if title == REAL else len(distilled.ids)
        return open_pairs(real, random_ids(real.ids, count, config.seed, seed), memory_gib=1.0)

    def miou(title, student, seed):
        architecture, width, lr = STUDENTS[student]
        net = new_segmenter(architecture, real.space.num_classes, seed=seed, width=width)
        train(net, pairs_of(title, seed), protocol.model_copy(update={"lr": lr}), seed=seed, device=device)
        return mean_iou(measure(net, scored_on, device=device).confusion)

    scores = {}
    for title in (REAL, *PROXIES):
        scores[title] = {student: mean(miou(title, student, seed) for seed in range(seeds)) for student in STUDENTS}
        for student, found in scores[title].items():
            print(f"{title:<12} {student:<22} mIoU {100 * found:5.1f} %", flush=True)
    ranks = {one: spearmanr([*scores[one].values()], [*scores[REAL].values()]).statistic for one in PROXIES}
    for title, rho in ranks.items():
        print(f"rank correlation of {title} with {REAL}: {rho:.2f}")
    return {"miou": scores, "rank_correlation": {title: float(rho) for title, rho in ranks.items()}}


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/search"), help="of the distilled set; it is resumed")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("changes", nargs="*", help="of the run, for example select.ratio=0.02")
    asked = parser.parse_intermixed_args()
    search(asked.out, asked.changes, asked.iterations, asked.seeds)


if __name__ == "__main__":
    main()
