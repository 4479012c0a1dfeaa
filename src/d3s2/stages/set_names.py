"""The grammar of a set's name in an evaluation: parts joined by '+', each with '-soft' behind it or not.

set   =  part { "+" part }
part  =  ( "random" | "balanced" | a selection method | "all" | distilled ) [ "-soft" ]
distilled  =  "distilled" | "distilled-unguided" | the path of a distilled set's folder, with a "/" in it
"""

from dataclasses import dataclass

from d3s2.base.errors import UsageError
from d3s2.base.names import nearest
from d3s2.selection.select import METHODS

JOINT, SOFT_END = "+", "-soft"
RANDOM, BALANCED, ALL = "random", "balanced", "all"
GUIDED, UNGUIDED = "distilled", "distilled-unguided"
REAL = (RANDOM, BALANCED, ALL, *(name for name in METHODS if name not in (RANDOM, BALANCED, ALL)))
HERE = (GUIDED, UNGUIDED)


@dataclass(frozen=True)
class SetPart:
    """One part of a set.

    Args:
        source: 'random', 'balanced', a name in METHODS, 'all', 'distilled', 'distilled-unguided', or a path.
        soft: whether students learn from its soft labels too.
    """

    source: str
    soft: bool = False

    @property
    def is_real(self) -> bool:
        """Whether its pairs are those of the training split."""
        return self.source in REAL

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
    """Whether a run makes the pairs of this set, or some of them."""
    return any(part.source in HERE for part in parse_set(name))


def checked(name: str) -> str:
    """The name as it is; raises UsageError where `parse_set` does."""
    parse_set(name)
    return name


def _parse_part(text: str, name: str) -> SetPart:
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
