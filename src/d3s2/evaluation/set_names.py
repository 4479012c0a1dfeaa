"""Which names of sets can be evaluated: those whose parts are known and go together (`d3s2.set_names` reads them)."""

from d3s2.base.errors import UsageError
from d3s2.base.names import did_you_mean
from d3s2.selection import METHODS
from d3s2.set_names import ALL, BALANCED, BEST_REAL, COMPOSED, HERE, RANDOM, SetPart, parse_name

REAL = (RANDOM, BALANCED, BEST_REAL, COMPOSED, ALL, *(name for name in METHODS if name != RANDOM))


CANDIDATES = (BALANCED, "rarest-first", "k-center", "facility-location", "herding", "medoids")
"""Real subsets of which `best-real` is the best."""

NO_CANDIDATES = (RANDOM, BEST_REAL, COMPOSED, ALL)


def parse_set(name: str) -> tuple[SetPart, ...]:
    """The parts of a set; raises UsageError where one is unknown or twice.

    Examples:
        >>> from d3s2.evaluation import parse_set
        >>> [(part.source, part.soft) for part in parse_set("balanced+distilled-soft")]
        [('balanced', False), ('distilled', True)]
    """
    parts = parse_name(name).parts
    for part in parts:
        _check_part(part, name)
    sources = [part.source for part in parts]
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice is not None:
        raise UsageError(f"Set '{name}' holds '{twice}' twice; name each part once.")
    return parts


def checked(name: str) -> str:
    """The name as it is; raises UsageError where `parse_set` does."""
    parse_set(name)
    return name


def checked_candidate(name: str) -> str:
    """The name as it is; raises UsageError where it is no choice of real pairs of the run's budget."""
    if name not in REAL or name in NO_CANDIDATES:
        known = [one for one in REAL if one not in NO_CANDIDATES]
        raise UsageError(
            f"'{name}' is no candidate for {BEST_REAL}, expected one of {', '.join(known)}.{did_you_mean(name, known)}"
        )
    return name


def _check_part(part: SetPart, name: str) -> None:
    if part.is_real and part.source not in REAL:
        raise UsageError(f"Set '{name}': {_unknown(part)}")
    if part.like is not None:
        _check_part(part.like, name)
        if part.source == ALL or not part.is_real or part.like.is_real or part.like.like:
            raise UsageError(
                f"Set '{name}': '{part.text}' is not of the form random@distilled-soft: a choice of real pairs, '@', "
                "and the distilled set whose bytes it takes."
            )


def _unknown(part: SetPart) -> str:
    """What is wrong with a part whose source is not known."""
    if part.like is not None and part.like.is_elsewhere:
        return (
            f"'{part.source}' before the '@' is no choice of real pairs ({', '.join(REAL)}); a path with an '@' before "
            f"its first '/' is written './{part.text}'."
        )
    known = (*REAL, *HERE)
    hint = did_you_mean(part.source, known)
    return f"'{part.text}' is none of {', '.join(known)}, nor the path of a folder (with a '/').{hint}"
