"""What each stage took, kept beside the run so that a resumed run adds to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Amount, read_object, record_from
from d3s2.base.machine.runtime import peak_memory_gib, stopwatch
from d3s2.report import CostRow

COST = "cost.json"


@dataclass(frozen=True)
class StageCost:
    """What one stage took, in all calls together."""

    __pydantic_config__ = RECORD

    wall_s: Amount = 0.0
    peak_memory_gib: Amount = 0.0


@contextmanager
def accounted(folder: Path, stage: str) -> Iterator[None]:
    """Adds the time of the block to what the stage took before."""
    with stopwatch() as watch:
        yield
    costs = _costs(folder)
    before = costs.get(stage, StageCost())
    costs[stage] = StageCost(
        wall_s=round(before.wall_s + watch.wall_s, 2),
        peak_memory_gib=round(max(before.peak_memory_gib, peak_memory_gib()), 2),
    )
    write_json(folder / COST, {name: asdict(cost) for name, cost in costs.items()})


def read_costs(folder: Path) -> tuple[CostRow, ...]:
    """A row a stage, in the order of the pipeline."""
    costs = _costs(folder)
    order = ["census", "select", "fit", "synthesize", "guidance cost", "evaluate"]
    return tuple(CostRow(stage, **asdict(costs[stage])) for stage in order if stage in costs)


def _costs(folder: Path) -> dict[str, StageCost]:
    path = folder / COST
    return record_from(read_object(path), dict[str, StageCost], str(path)) if path.exists() else {}
