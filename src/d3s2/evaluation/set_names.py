"""The grammar of a set's name in an evaluation: parts joined by '+', each with '-soft' behind it or not.

set   =  part { "+" part }
part  =  "all" | chosen [ "@" made ] | made
chosen  =  "random" | "balanced" | a selection method
made  =  distilled [ "-soft" ]
distilled  =  "distilled" | "distilled-unguided" | the path of a distilled set's folder, with a "/" in it
"""

from dataclasses import dataclass

from d3s2.base.errors import UsageError
from d3s2.base.names import nearest
from d3s2.report.records import AT, JOINT, SOFT_END
from d3s2.selection.names import METHOD_NAMES

RANDOM, BALANCED, ALL = "random", "balanced", "all"
GUIDED, UNGUIDED = "distilled", "distilled-unguided"
REAL = (RANDOM, BALANCED, ALL, *(name for name in METHOD_NAMES if name not in (RANDOM, BALANCED, ALL)))
HERE = (GUIDED, UNGUIDED)


@dataclass(frozen=True)
class SetPart:
    """One part of a set.

    Args:
        source: 'random', 'balanced', a name in METHOD_NAMES, 'all', 'distilled', 'distilled-unguided', or a path.
        soft: whether students learn from its soft labels too.
        like: the made part whose bytes a chosen one takes; None takes the run's budget of masks.
    """

    source: str
    soft: bool = False
    like: "SetPart | None" = None

    @property
    def is_real(self) -> bool:
        """Whether its pairs are those of the training split."""
        return self.source in REAL

    @property
    def made(self) -> str | None:
        """The distilled set without which this part does not exist; None where it needs none."""
        part = self.like or self
        return None if part.is_real else part.source

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a folder that another run made."""
        return "/" in self.source


def parse_set(name: str) -> tuple[SetPart, ...]:
    """The parts of a set; raises UsageError where one is unknown, twice, or cannot have soft labels."""
    parts = tuple(_parse_part(text.strip(), name) for text in name.split(JOINT))
    sources = [part.source for part in parts]
    twice = next((source for source in sources if sources.count(source) > 1), None)
    if twice is not None:
        raise UsageError(f"Set '{name}' holds '{twice}' twice; name each part once.")
    return parts


def is_made_here(name: str) -> bool:
    """Whether this set needs one that a run makes, for its pairs or for its size."""
    return any(part.made in HERE for part in parse_set(name))


def checked(name: str) -> str:
    """The name as it is; raises UsageError where `parse_set` does."""
    parse_set(name)
    return name


def _parse_part(text: str, name: str) -> SetPart:
    chosen, at, made = text.partition(AT)
    if at and chosen in REAL:  # elsewhere it may stand in a path
        like = _parse_part(made, name)
        if chosen == ALL or like.is_real or like.like:
            raise UsageError(
                f"Set '{name}': '{text}' is not of the form random@distilled-soft: a choice of real pairs, '@', and "
                "the distilled set whose bytes it takes."
            )
        return SetPart(chosen, like=like)
    source, soft = (text.removesuffix(SOFT_END), True) if text.endswith(SOFT_END) else (text, False)
    part = SetPart(source, soft)
    if not (part.is_real or part.source in HERE or part.is_elsewhere):
        known = (*REAL, *HERE)
        hint = nearest(source, known)
        suggestion = f" Did you mean '{hint}'?" if hint else ""
        raise UsageError(
            f"Set '{name}': '{text}' is none of {', '.join(known)}, nor the path of a folder (with a '/').{suggestion}"
        )
    if part.soft and part.is_real:
        raise UsageError(f"Set '{name}': real data has no soft labels here; '-soft' goes with distilled sets.")
    return part
