"""Whether masks or images are to blame where a distilled set stays below the best real one."""

from d3s2.evaluation import REAL
from d3s2.metrics import MIOU
from d3s2.pipeline.config import RunConfig
from d3s2.results import Results
from d3s2.results.controls import Comparison, compared_by_seed
from d3s2.selection import FEATURE_METHODS
from d3s2.set_names import BALANCED, BEST_REAL, COMPOSED, GUIDED, RANDOM, set_title


def same_masks(config: RunConfig) -> str | None:
    """The set that holds the real images of the distilled set's masks; None where no name stands for it."""
    select, evaluate = config.select, config.evaluate
    if select.strips > 1:
        return COMPOSED
    if select.method == "class-balanced":
        return BALANCED
    if select.method == RANDOM or select.method not in REAL:  # random sets are drawn anew for each seed
        return None
    if select.method in FEATURE_METHODS and select.features != evaluate.real_features:
        return None
    return select.method


def below_best_real(results: Results | None, config: RunConfig) -> tuple[str, ...]:
    """What is said of the first student where its distilled set stays below the best real one."""
    student = results.students[0] if results and results.students else ""
    ratio = results.ratio(GUIDED, BEST_REAL, student) if results else None
    if results is None or ratio is None or ratio >= 1:
        return ()
    line = f"Distilled over best real is {ratio:.2f}"
    same = same_masks(config)
    if same is None:
        return (f"{line}.",)
    is_best = any(same == choice.chosen and not choice.soft for choice in results.best_real)
    base = BEST_REAL if is_best else same
    found = _compared(results, base, student)
    if found is None and results.row(base, student) is not None:  # of older results, whose seeds were not kept
        return (f"{line}.",)
    if found is None:
        return (f"{line}; '{same}' in evaluate.sets, the real images of the same masks, tells what the images lose.",)
    points = f"{100 * found.difference:+.1f} points ({found.verdict})"
    return (f"{line}. With the same masks, synthetic images against real ones ({set_title(base)}): {points}.",)


def _compared(results: Results, base: str, student: str) -> Comparison | None:
    """The distilled set against any other, seed by seed; None where the other was not evaluated."""
    ours, theirs = results.row(GUIDED, student), results.row(base, student)
    if ours is None or theirs is None:
        return None
    first, second = (dict(zip(row.seeds, row.per_seed.get(MIOU, ()), strict=False)) for row in (ours, theirs))
    return compared_by_seed(GUIDED, base, student, first, second)
