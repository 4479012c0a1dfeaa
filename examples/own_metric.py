"""A metric of one's own: the share of the classes that a student sees at all.

    PYTHONPATH=examples d3s2 evaluate scenes 'evaluate.metrics=[miou, "own_metric:classes_seen"]' --out runs/scenes

A metric is a function of what a student got right and wrong over the test split, and gives a share, or None where
nothing counts. It follows from counts that are kept: a metric more trains no student anew.
"""

from d3s2.metrics import Counts


def classes_seen(counts: Counts) -> float | None:
    """Classes of the truth of which at least half of the pixels are right."""
    in_truth = counts.confusion.sum(axis=1)  # (c,), rows are true classes
    recall = counts.confusion.diagonal()[in_truth > 0] / in_truth[in_truth > 0]
    return float((recall >= 0.5).mean()) if len(recall) else None
