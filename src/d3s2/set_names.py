"""The name of a set in an evaluation: parts joined by '+', each with '-soft' behind it or not.

set   =  part { "+" part }
part  =  chosen [ "@" made ] | made
chosen  =  real [ "-soft" ]
real  =  "random" | "balanced" | "best-real" | "composed" | "all" | a selection method
made  =  distilled [ "-soft" ]
distilled  =  "distilled" | "distilled-unguided" | the path of a distilled set's folder, with a "/" in it

An '@' behind a "/" belongs to the path. Any text is read, since tables show what others named; which selection methods
there are, and which parts go together, is checked where sets are asked for (`evaluation.set_names`).
"""

from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache

RANDOM, BALANCED, BEST_REAL, COMPOSED, ALL = "random", "balanced", "best-real", "composed", "all"
GUIDED, UNGUIDED = "distilled", "distilled-unguided"
HERE = (GUIDED, UNGUIDED)
JOINT, AT, SOFT_END = "+", "@", "-soft"

SETS = {
    RANDOM: "random real",
    BALANCED: "balanced real",
    BEST_REAL: "best real",
    COMPOSED: "composed real",
    UNGUIDED: "distilled, unguided",
    GUIDED: "distilled",
    ALL: "all real",
}
"""Names of sets in the order of tables, and what readers are shown."""


@dataclass(frozen=True)
class SetPart:
    """One part of a set.

    Args:
        source: 'random', 'balanced', 'best-real', a selection method, 'all', 'distilled', 'distilled-unguided', or a
            path.
        soft: whether students learn from the teacher's soft labels of it too.
        like: the made part whose bytes a chosen one takes; None takes the run's budget of masks.
    """

    source: str
    soft: bool = False
    like: "SetPart | None" = None

    @property
    def text(self) -> str:
        """The part as it is written."""
        return f"{self.source}{SOFT_END if self.soft else ''}" + (f"{AT}{self.like.text}" if self.like else "")

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a folder that another run made."""
        return "/" in self.source

    @property
    def is_real(self) -> bool:
        """Whether its pairs are those of the training split."""
        return not self.is_elsewhere and self.source not in HERE

    @property
    def made(self) -> str | None:
        """The distilled set without which this part does not exist; None where it needs none."""
        part = self.like or self
        return None if part.is_real else part.source

    @property
    def title(self) -> str:
        """What readers are shown."""
        own = SETS.get(self.source, self.source) + (", soft labels" if self.soft else "")
        return own if self.like is None else f"{own} at the bytes of {self.like.title}"


@dataclass(frozen=True)
class SetName:
    """The name of a set, read.

    Args:
        text: as it was given.
        parts: in their order, one at least.
    """

    text: str
    parts: tuple[SetPart, ...]

    @property
    def title(self) -> str:
        """What readers are shown, for example 'balanced real + distilled, soft labels'."""
        return f" {JOINT} ".join(part.title for part in self.parts)

    @property
    def is_made_here(self) -> bool:
        """Whether this set needs one that a run makes, for its pairs or for its size."""
        return any(part.made in HERE for part in self.parts)

    @property
    def is_real(self) -> bool:
        """Whether it holds real pairs only, as many as the run's budget says or all of them."""
        return all(part.is_real and part.like is None for part in self.parts)

    @property
    def takes_all(self) -> bool:
        """Whether it is all real pairs, whatever the budget."""
        return all(part.source == ALL for part in self.parts)

    @property
    def asks_for_best_real(self) -> bool:
        """Whether the best real subset has to be chosen for it."""
        return any(part.source == BEST_REAL for part in self.parts)


@lru_cache(maxsize=1024)
def parse_name(text: str) -> SetName:
    """The name of a set; any text is one."""
    return SetName(text, tuple(_parse_part(part.strip()) for part in text.split(JOINT)))


def set_title(text: str) -> str:
    """What readers are shown for the name of a set."""
    return parse_name(text).title


def _parse_part(text: str) -> SetPart:
    chosen, at, made = text.partition(AT)
    like = _parse_part(made) if at and "/" not in chosen else None
    own = text if like is None else chosen
    return SetPart(own.removesuffix(SOFT_END), own.endswith(SOFT_END), like)


def order_of(text: str) -> tuple[float, bool]:
    """Where a set stands in tables: as in SETS, soft labels behind hard ones, all others before all real data."""
    parts = parse_name(text).parts
    first, names = parts[0], list(SETS)
    if len(parts) > 1 or first.like is not None or first.source not in SETS:
        return names.index(ALL) - 0.5, False
    return float(names.index(first.source)), first.soft


def base_for(name: str, base: str, evaluated: Container[str]) -> str | None:
    """The set `base` with the kind of labels that the set `name` has, else with hard ones; None where there is none."""
    soft = any(part.soft for part in parse_name(name).parts)
    like = [f"{base}{SOFT_END}"] if soft else []
    return next((one for one in (*like, base) if one in evaluated), None)


def bases_of(name: str, evaluated: Container[str]) -> list[str]:
    """What a set is compared with: real subsets, and itself with hard labels where it has soft ones."""
    found = [base_for(name, base, evaluated) for base in (RANDOM, BALANCED, BEST_REAL, COMPOSED)]
    hard = hard_of(name)
    found += [hard] if hard in evaluated else []
    return [base for base in dict.fromkeys(found) if base is not None and base != name]


def hard_of(name: str) -> str:
    """The same pairs without soft labels."""
    return JOINT.join(replace(part, soft=False).text for part in parse_name(name).parts)
