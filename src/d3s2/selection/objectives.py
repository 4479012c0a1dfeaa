"""The objective of class-balanced selection, apart from whoever maximises it.

    F(S) = sum over classes c of w_c log(1 + n_c(S))        n_c(S) = sum over the masks i of S of v[i, c]

F is monotone and submodular: a mask never gains more by waiting. The gain of a mask is the sum, over the classes that
it covers, of w_c log(1 + v / (1 + n_c)). Each such term is rounded once to a multiple of 2^-32 and kept as a whole
number, so that the gain of a mask is the same number in whatever order it is summed, and by whichever optimiser.

| variable | symbol | meaning |
|---|---|---|
| weights | w_c | what class c counts |
| covered | 32 n_c | coverage of class c in the chosen set, a whole number |
| worth | | the term of each code (class, level), in units of 2^-32 |
| held | | masks of the chosen set that cover class c |
| quotas | q_c | masks that class c must have before anything else counts |

Source: Nemhauser, Wolsey and Fisher, Mathematical Programming 14 (1978), for greedy's bound of 1 - 1/e.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt16

from d3s2.selection.coverage import UNIT, classes_of, levels_of

ONE = 1 << 32
"""A gain of 1."""

QUOTA = 1 << 52
"""Added for each class whose quota is not met: above what all classes together can gain."""

MAX_WEIGHT = 1000.0
"""With 255 classes the gains of a mask stay below QUOTA, and all quotas together below 2^63."""


@dataclass(frozen=True)
class LogCoverage:
    """What covering is worth.

    Args:
        weights: w_c, 0 to MAX_WEIGHT.
        quotas: q_c, 0 where a class has none.
    """

    weights: Float64[np.ndarray, " c"]
    quotas: Int64[np.ndarray, " c"]

    def value(self, covered: Int64[np.ndarray, " c"]) -> float:
        """F of a set that covers 32 n_c; quotas do not count."""
        return float((self.weights * np.log1p(covered / UNIT)).sum())

    def terms(self, classes: Int64[np.ndarray, " m"], covered: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, "m 256"]:
        """The gain, in units of 2^-32, of each level of `classes` where 32 n_c is `covered`."""
        gained = np.log1p(np.arange(256) / (UNIT + covered[:, None]))
        return np.rint(self.weights[classes, None] * gained * ONE).astype(np.int64)


class Tally:
    """What the chosen masks cover so far, and what each (class, level) is worth to them now."""

    def __init__(self, objective: LogCoverage) -> None:
        self.objective = objective
        self.covered: Int64[np.ndarray, " c"] = np.zeros(len(objective.weights), dtype=np.int64)
        self.held: Int64[np.ndarray, " c"] = np.zeros(len(objective.weights), dtype=np.int64)
        self._worth: Int64[np.ndarray, "c 256"] = np.zeros((len(objective.weights), 256), dtype=np.int64)
        self._reckon(np.arange(len(objective.weights)))

    @property
    def worth(self) -> Int64[np.ndarray, " k"]:
        """By code; a view that `take` brings up to date."""
        return self._worth.reshape(-1)

    def gains(self, codes: UInt16[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """The terms of F, in units of 2^-32, that a mask with these codes would add; quotas do not count."""
        classes = classes_of(codes)
        due = self.held[classes] < self.objective.quotas[classes]
        return self.worth[codes] - due * QUOTA

    def take(self, codes: UInt16[np.ndarray, " m"]) -> None:
        """Adds a mask: only the classes that it covers change what they are worth."""
        classes = classes_of(codes)
        self.covered[classes] += levels_of(codes)
        self.held[classes] += 1
        self._reckon(classes)

    def _reckon(self, classes: Int64[np.ndarray, " m"]) -> None:
        terms = self.objective.terms(classes, self.covered[classes])
        due = self.held[classes] < self.objective.quotas[classes]
        terms[:, 1:] += (due * QUOTA)[:, None]
        self._worth[classes] = terms
