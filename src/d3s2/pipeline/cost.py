"""What each stage took, kept beside the run so that a resumed run adds to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d3s2.base.files import read_json, write_json
from d3s2.base.runtime import peak_memory_gib, stopwatch
from d3s2.report.page import CostRow

COST = "cost.json"


@contextmanager
def accounted(folder: Path, stage: str) -> Iterator[None]:
    """Adds the time of the block to what the stage took before."""
    with stopwatch() as watch:
        yield
    costs = read_json(folder / COST) if (folder / COST).exists() else {}
    before = costs.get(stage, {"wall_s": 0.0, "peak_memory_gib": 0.0})
    costs[stage] = {
        "wall_s": round(before["wall_s"] + watch.wall_s, 2),
        "peak_memory_gib": round(max(before["peak_memory_gib"], peak_memory_gib()), 2),
    }
    write_json(folder / COST, costs)


def read_costs(folder: Path) -> tuple[CostRow, ...]:
    """A row a stage, in the order of the corridor."""
    costs = read_json(folder / COST) if (folder / COST).exists() else {}
    order = ["census", "select", "fit", "synthesize", "guidance cost", "evaluate"]
    return tuple(CostRow(stage, **costs[stage]) for stage in order if stage in costs)
