"""What guidance costs: the same few masks from the same noise, unguided, `fast` and `full`, in one process."""

import math
from dataclasses import dataclass, replace

from d3s2.base.files import write_json
from d3s2.base.records import RECORD, Amount
from d3s2.data.pairs import load_masks
from d3s2.pipeline.config import RunConfig
from d3s2.pipeline.fit import Models
from d3s2.pipeline.run import Run
from d3s2.selection.picks import Selection
from d3s2.synthesis.sampling import sample_batch

GUIDANCE_COST = "guidance_cost.json"
NUM_MASKS = 4
ROUNDS = 2


@dataclass(frozen=True)
class GuidanceCost:
    """What guidance_cost.json holds: seconds in each mode, and ratios to unguided."""

    __pydantic_config__ = RECORD

    unguided_s: Amount
    fast_s: Amount
    full_s: Amount
    fast_ratio: Amount
    full_ratio: Amount


def measure_guidance_cost(run: Run, selection: Selection, models: Models) -> dict[str, float]:
    """Seconds of sampling `NUM_MASKS` images in each mode (the faster of two rounds), and ratios to unguided."""
    path = run.folder / GUIDANCE_COST
    batch = selection.ids[:NUM_MASKS]
    masks = load_masks(run.train_data, batch)
    seconds: dict[str, float] = {}
    with run.progress.task("guidance cost", ROUNDS * 3) as task:
        for _ in range(ROUNDS):
            for mode in ("unguided", "fast", "full"):
                other = replace(run, config=_in_mode(run.config, "fast" if mode == "unguided" else mode))
                sampled = sample_batch(other, models, batch, masks, guided=mode != "unguided")
                seconds[mode] = min(seconds.get(mode, math.inf), sampled.trace.wall_s)
                task.advance()
    found = {f"{mode}_s": round(value, 3) for mode, value in seconds.items()}
    found |= {f"{mode}_ratio": round(seconds[mode] / seconds["unguided"], 3) for mode in ("fast", "full")}
    write_json(path, found)
    return found


def _in_mode(config: RunConfig, mode: str) -> RunConfig:
    guidance = config.synthesize.guidance.model_copy(update={"mode": mode})
    measured = {"guidance": guidance, "trace_every": 0}
    return config.model_copy(update={"synthesize": config.synthesize.model_copy(update=measured)})
