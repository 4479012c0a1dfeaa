"""How the energies of a batch went over the steps of sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from d3s2.base.machine.moving import to_host

Values = list[list[float | None]]
"""Per step, one number an item; None at steps where it was not taken."""


@dataclass
class Trace:
    """Energies of one batch at the steps where they were taken, and what sampling it cost.

    Args:
        noise: share of noise of each step.
        energies: by name.
        wall_s: sampling alone, the recording of this trace not counted.
    """

    noise: list[float]
    energies: dict[str, Values]
    wall_s: float = 0.0

    def add(self, energies: Mapping[str, Tensor] | None, num_items: int) -> None:
        """A step more; None for one where they are not taken."""
        for name, values in self.energies.items():
            values.append([None] * num_items if energies is None else [*rounded(energies[name])])


def is_traced(step: int, trace_every: int) -> bool:
    """Whether the energies of step number `step`, from 1, are taken: every n-th, 0 none."""
    return trace_every > 0 and step % trace_every == 0


def joined(traces: Sequence[Trace]) -> Trace:
    """The trace of a batch from those of its parts, in order."""
    first = traces[0]
    steps = range(len(first.noise))
    energies = {
        name: [[value for trace in traces for value in trace.energies[name][step]] for step in steps]
        for name in first.energies
    }
    return Trace(first.noise, energies, sum(trace.wall_s for trace in traces))


def chosen(traces: Sequence[Trace], wall_s: float) -> Trace:
    """The trace of a batch whose item number i has that of `traces[i]`."""
    first = traces[0]
    steps = range(len(first.noise))
    energies = {
        name: [[trace.energies[name][step][index] for index, trace in enumerate(traces)] for step in steps]
        for name in first.energies
    }
    return Trace(first.noise, energies, wall_s)


def rounded(values: Tensor) -> list[float]:
    """As they are stored."""
    return [round(value, 6) for value in to_host(values).tolist()]
