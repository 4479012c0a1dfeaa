"""What guidance costs: the same few masks from the same noise, unguided, `fast` and `full`, in one process."""

import math
from dataclasses import dataclass

from d3s2.base.formats.files import write_json
from d3s2.base.formats.records import RECORD, Amount
from d3s2.data import open_pairs
from d3s2.pipeline.fitting.fit import Models
from d3s2.pipeline.run import Run
from d3s2.selection import Selection
from d3s2.synthesis import SynthesizeSettings, guided_sample, item_noise

GUIDANCE_COST = "guidance_cost.json"
NUM_MASKS = 4
ROUNDS = 2
UNGUIDED, RULES = "unguided", ("fast", "full")


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
    """Seconds of sampling `NUM_MASKS` images by each rule (the faster of two rounds), and ratios to unguided."""
    ids = selection.ids[:NUM_MASKS]
    masks, seconds = open_pairs(run.source_data, ids).take_masks(range(len(ids))), dict[str, float]()
    with run.progress.task("guidance cost", ROUNDS * (1 + len(RULES))) as task:
        for _ in range(ROUNDS):
            for rule in (UNGUIDED, *RULES):
                sampled = guided_sample(
                    models.generator,
                    models.teacher,
                    models.bank,
                    masks,
                    [item_noise(run.config.seed, source_id) for source_id in ids],
                    _with_rule(run.config.synthesize, rule),
                    device=run.device,
                    guided=rule != UNGUIDED,
                )
                seconds[rule] = min(seconds.get(rule, math.inf), sampled.trace.wall_s)
                task.advance()
    found = {f"{rule}_s": round(value, 3) for rule, value in seconds.items()}
    found |= {f"{rule}_ratio": round(seconds[rule] / seconds[UNGUIDED], 3) for rule in RULES}
    write_json(run.folder / GUIDANCE_COST, found)
    return found


def _with_rule(settings: SynthesizeSettings, rule: str) -> SynthesizeSettings:
    guidance = settings.guidance if rule == UNGUIDED else settings.guidance.model_copy(update={"rule": rule})
    # Wherever a run starts, its guidance is measured from noise on: all steps of the window are in it.
    return settings.model_copy(update={"guidance": guidance, "trace_every": 0, "start": 1.0})
