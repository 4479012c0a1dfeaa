"""A metric: what tables call it, and how it follows from what a student got right and wrong over the test split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isnan

import numpy as np
from jaxtyping import Float64, Int64

from d3s2.base.errors import UsageError
from d3s2.base.tables import is_outside
from d3s2.metrics.table import METRICS


@dataclass(frozen=True)
class Counts:
    """What a network got right and wrong over a split, in pixels; sums over images.

    Args:
        confusion: of (true class, predicted class).
        boundary: near contours: shared, of the truth, of the prediction, by class.
        tail_classes: the rarest third of the classes, by the number of training masks that hold them.
    """

    confusion: Int64[np.ndarray, "c c"]
    boundary: Int64[np.ndarray, "3 c"]
    tail_classes: tuple[int, ...] = ()


PerClass = Callable[[Counts], Float64[np.ndarray, " c"]]


@dataclass(frozen=True)
class Metric:
    """One score.

    Args:
        title: what tables call it, without a unit: scores are shares, and shown in per cent.
        of: the score in 0..1; None or NaN where nothing counts, for example where the truth holds no class of it.
        per_class: what records keep of each class beside it, name -> a share for each; NaN where the class counts not.
    """

    title: str
    of: Callable[[Counts], float | None]
    per_class: Mapping[str, PerClass] = field(default_factory=dict)

    def __call__(self, counts: Counts) -> float | None:
        """The score: a Metric stands wherever a plain function may."""
        return self.of(counts)


def metric_named(name: str) -> Metric:
    """The metric of that name; a plain function of the user's is one whose title is the function's name.

    Raises:
        UsageError: the name is unknown, cannot be imported, or is of something that can be no metric.

    Examples:
        >>> from d3s2.metrics import metric_named
        >>> metric_named("miou").title
        'mIoU'
    """
    found = METRICS.load(name)
    if isinstance(found, Metric):
        return found
    if isinstance(found, type) or not callable(found):
        raise UsageError(
            f"The metric '{name}' is a {type(found).__name__}, expected a function of Counts, or a Metric "
            "(d3s2.metrics.metric)."
        )
    title = name.rpartition(":")[2].rpartition(".")[2] if is_outside(name) else name
    return Metric(title.replace("_", " "), found)


def score_of(name: str, metric: Metric, counts: Counts) -> float | None:
    """The score in 0..1, None where nothing counts; raises UsageError where the metric gives anything else.

    Examples:
        >>> import numpy as np
        >>> from d3s2.metrics import Counts, metric_named, score_of
        >>> counts = Counts(np.array([[8, 2], [0, 10]]), np.ones((3, 2), dtype=np.int64))
        >>> round(score_of("miou", metric_named("miou"), counts), 3)
        0.817
    """
    score = metric(counts)
    if score is None:
        return None
    share = float(score)
    if isnan(share):
        return None
    if not 0 <= share <= 1:
        raise UsageError(f"The metric '{name}' gave {score}, expected a share, 0 to 1, or None where nothing counts.")
    return share


def shares_of(metric: Metric, counts: Counts) -> dict[str, tuple[float | None, ...]]:
    """What records keep of each class, by train id; None for a class that does not count.

    Examples:
        >>> import numpy as np
        >>> from d3s2.metrics import Counts, metric_named, shares_of
        >>> counts = Counts(np.array([[8, 2], [0, 10]]), np.ones((3, 2), dtype=np.int64))
        >>> [round(share, 2) for share in shares_of(metric_named("miou"), counts)["iou"]]
        [0.8, 0.83]
    """
    return {
        name: tuple(None if isnan(share) else float(share) for share in of(counts).tolist())
        for name, of in metric.per_class.items()
    }
