"""Several images for a mask, from as many noises, of which the one is kept that the teacher agrees with most."""

import math
from collections.abc import Sequence

from d3s2.base.errors import NumericError
from d3s2.synthesis.guided import Sampled
from d3s2.synthesis.items import SampledItem
from d3s2.synthesis.settings import GuidanceSettings
from d3s2.synthesis.trace import chosen

CHOSEN_BY = "segmentation"  # where a run asks for that energy; else the weighted sum of those that it asks for


def best_of(tries: Sequence[Sampled], guidance: GuidanceSettings) -> Sampled:
    """Of each mask the candidate with the lowest energy; one that is not finite never wins over one that is.

    Args:
        tries: the same masks from the first, second ... noise of each.
    """
    kept = tuple(
        min((one.items[index] for one in tries), key=lambda item: _rank(item, guidance))
        for index in range(len(tries[0].items))
    )
    trace = chosen([tries[item.candidate].trace for item in kept], sum(one.trace.wall_s for one in tries))
    return Sampled(kept, trace)


def require_finite(names: Sequence[str], sampled: Sampled) -> Sampled:
    """The same; raises NumericError that names the first item whose image or energy is not finite."""
    broken = [name for name, item in zip(names, sampled.items, strict=True) if not item.is_finite]
    if broken:
        raise NumericError(
            f"Item '{broken[0]}': what was sampled is not finite, or what guided it was not, with any of its noises; "
            "lower synthesize.guidance.strength or synthesize.guidance_scale, or use float32. If neither is large, the "
            "generator's weights are damaged: fit it again with a lower learning rate."
        )
    return sampled


def _rank(item: SampledItem, guidance: GuidanceSettings) -> float:
    if not item.is_finite:
        return math.inf
    if CHOSEN_BY in item.energies:
        return item.energies[CHOSEN_BY]
    return sum(weight * item.energies[name] for name, weight in guidance.energies.items())
