"""Selection: the record of a choice, and how it explains itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from d3s2.base.formats.records import RECORD


@dataclass(frozen=True)
class Pick:
    """One chosen mask.

    Args:
        item_id: of the mask.
        reason_class: the class that it was taken for; None where the method considers no class.
        gain: by how much it raised the objective F when it was taken.
    """

    __pydantic_config__ = RECORD

    item_id: str
    reason_class: str | None
    gain: float


@dataclass(frozen=True)
class Selection:
    """The chosen masks, in the order in which they were taken.

    Args:
        method: a name in METHODS.
        settings: every setting that the answer depends on.
        picks: one a mask; the first ones are those that were forced.
        empty_classes: classes that no mask of the data set covers, so that no selection can.
        value: F of the chosen set.
    """

    __pydantic_config__ = RECORD

    method: str
    settings: Mapping[str, Any]
    picks: tuple[Pick, ...]
    empty_classes: tuple[str, ...]
    value: float

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the chosen masks."""
        return tuple(pick.item_id for pick in self.picks)


def explain(selection: Selection, max_rows: int | None = None) -> str:
    """A table of text: for each mask the class that it was taken for, and the gain.

    Args:
        selection: what `select_masks` gave.
        max_rows: shows the first so many; None shows all.

    Examples:
        >>> from d3s2.selection import Pick, Selection, explain
        >>> picks = (Pick("000007", "boat", 2.5), Pick("000001", "car", 1.0))
        >>> print(explain(Selection("class-balanced", {}, picks, ("hydrant",), 3.5)))
        pick  mask    taken for      gain
           1  000007  boat       2.500000
           2  000001  car        1.000000
        In no mask at all: hydrant.
    """
    forced = set(selection.settings.get("force", ()))
    shown = selection.picks[:max_rows]
    rows = [("pick", "mask", "taken for", "gain")]
    for number, pick in enumerate(shown, start=1):
        reason = "forced" if pick.item_id in forced else pick.reason_class or "-"
        rows.append((str(number), pick.item_id, reason, f"{pick.gain:.6f}"))
    width = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{a:>{width[0]}}  {b:<{width[1]}}  {c:<{width[2]}}  {d:>{width[3]}}" for a, b, c, d in rows]
    if len(shown) < len(selection.picks):
        lines.append(f"... and {len(selection.picks) - len(shown)} more")
    if selection.empty_classes:
        lines.append(f"In no mask at all: {', '.join(selection.empty_classes)}.")
    return "\n".join(lines)
