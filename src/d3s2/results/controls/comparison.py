"""One set against another, seed by seed: paired differences and their interval.

    variable    symbol   meaning
    ours        a_s      score of one set with seed s
    base        b_s      score of the other set with the same seed
    mean        d        mean of the differences d_s = a_s - b_s over the n seeds that both have
    low, high            d -+ t s / sqrt(n), s the sample deviation of d_s, t the quantile of Student's t with n - 1
                         degrees of freedom that leaves (1 - CONFIDENCE) / 2 on either side

Seeds are pairs because both students begin with the same weights and draw the same augmentation. The interval speaks of
what differs from seed to seed: of students alone where one distilled set was drawn, of its draws too where each seed
has its own.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from scipy.special import stdtrit

from d3s2.base.formats.records import RECORD

CONFIDENCE = 0.95
Verdict = Literal["ahead", "behind", "not told apart"]


@dataclass(frozen=True)
class Comparison:
    """One set against another with the same student: the ratio of mean mIoUs, and the paired difference.

    Args:
        ours, base: names of sets.
        student: architecture.
        ratio: None where the mean of `base` is 0.
        difference: mean, a share, -1..1.
        low, high: interval of CONFIDENCE by Student's t; None for one pair, which has none.
        pairs: seeds that both have.
    """

    __pydantic_config__ = RECORD

    ours: str
    base: str
    student: str
    ratio: float | None
    difference: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def verdict(self) -> Verdict:
        """'ahead' or 'behind' only where the interval does not hold 0."""
        if self.low is not None and self.low > 0:
            return "ahead"
        return "behind" if self.high is not None and self.high < 0 else "not told apart"

    @property
    def text(self) -> str:
        """The difference in points with its interval, for example '+2.1 (0.4 to 3.8)'."""
        points = f"{100 * self.difference:+.1f}"
        if self.low is None or self.high is None:
            return points
        return f"{points} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def interval(differences: Sequence[float]) -> tuple[float | None, float | None]:
    """The interval of the mean difference; None twice for fewer than two."""
    n = len(differences)
    if n < 2:
        return None, None
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * statistics.stdev(differences) / sqrt(n)
    mean = statistics.fmean(differences)
    return mean - half, mean + half


def compared_by_seed(
    ours: str, base: str, student: str, first: Mapping[int, float | None], second: Mapping[int, float | None]
) -> Comparison | None:
    """As `compared`, from the scores of each set by seed; a seed that only one of them has is left out."""
    return compared(ours, base, student, [(score, second.get(seed)) for seed, score in first.items()])


def compared(
    ours: str, base: str, student: str, pairs: Sequence[tuple[float | None, float | None]]
) -> Comparison | None:
    """Two sets from their scores by seed, None where a seed has none; None where they share no seed."""
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not known:
        return None
    above, below = (statistics.fmean(values) for values in zip(*known, strict=True))
    differences = [a - b for a, b in known]
    low, high = interval(differences)
    ratio = above / below if below else None
    return Comparison(ours, base, student, ratio, statistics.fmean(differences), low, high, len(known))
