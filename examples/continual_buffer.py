"""Continual learning: a few distilled pairs of what was learnt first keep a network from forgetting it.

    python examples/continual_buffer.py --out runs/buffer

A network learns views of `scenes` with a road, then only views without one, and is scored on views with a road. In the
second task about as many pairs come from the buffer as from the task itself. The buffer is distilled from masks of the
first task alone; the shipped teacher and generator that make its images have learnt both.
"""

import argparse
import copy
from pathlib import Path

import torch

import d3s2
from d3s2.data import JoinedDataset, open_pairs, open_split
from d3s2.evaluation import random_ids
from d3s2.metrics import mean_iou
from d3s2.nets import new_segmenter
from d3s2.student import measure, train


def forget(out, changes=(), iterations=600):
    """mIoU on the first task: after it, and after the second one without a buffer, with a real and a distilled one."""
    config, device = d3s2.load_run("scenes", changes), torch.device("cpu")
    real, val = open_split(config.data, "train"), open_split(config.data, "val")
    road = real.space.names.index("road")
    has_road = {one: bool((real.mask(one) == road).any()) for one in real.ids}
    first, second = ([one for one in real.ids if has_road[one] is wanted] for wanted in (True, False))

    select = config.select.model_copy(update={"forbid": tuple(second)})
    distilled = d3s2.distill(config.model_copy(update={"select": select}), out=out)
    buffers = {
        "no buffer": None,
        "random real buffer": (real, random_ids(first, len(distilled.ids), config.seed, 0)),
        "distilled buffer": (distilled, tuple(distilled.ids)),
    }
    kept = [one for one in val.ids if (val.mask(one) == road).any()]
    scored_on = open_pairs(val, kept, memory_gib=1.0)
    protocol = config.evaluate.train.model_copy(update={"iterations": iterations})

    def learn(net, dataset):
        train(net, open_pairs(dataset, dataset.ids, memory_gib=1.0), protocol, seed=0, device=device)
        return mean_iou(measure(net, scored_on, device=device).confusion)

    net = new_segmenter("compact-unet", real.space.num_classes, seed=0, width=protocol.width)
    scores = {"after the first task": learn(net, JoinedDataset(((real, tuple(first)),)))}
    for title, buffer in buffers.items():
        times = 0 if buffer is None else max(1, len(second) // len(buffer[1]))
        dataset = JoinedDataset(((real, tuple(second)), *[buffer] * times))
        scores[f"after the second, {title}"] = learn(copy.deepcopy(net), dataset)
    for title, found in scores.items():
        print(f"{title:<36} mIoU on the first task {100 * found:5.1f} %")
    return scores


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/buffer"), help="of the distilled set; it is resumed")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("changes", nargs="*", help="of the run, for example select.ratio=0.02")
    asked = parser.parse_intermixed_args()
    forget(asked.out, asked.changes, asked.iterations)


if __name__ == "__main__":
    main()
