"""From the labels that a network knows to the classes of a data set."""

from collections.abc import Sequence

from d3s2.base.errors import ModelError

MAX_LISTED = 8


def require_same_classes(where: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    """Raises ModelError with the list of differences unless the network's classes are the data set's, in order."""
    if list(known) == list(wanted):
        return
    raise ModelError(
        f"{where}: the network knows other classes than the data set ({differences(known, wanted)}); "
        "take a network of this data set, or give a label map."
    )


def differences(known: Sequence[str], wanted: Sequence[str]) -> str:
    """In words, how the labels of a network differ from the classes of a data set."""
    missing = [name for name in wanted if name not in known]
    surplus = [name for name in known if name not in wanted]
    parts = [f"{len(known)} classes instead of {len(wanted)}"] if len(known) != len(wanted) else []
    if missing:
        parts.append(f"without {_listed(missing)}")
    if surplus:
        parts.append(f"with {_listed(surplus)}")
    if not missing and not surplus:
        moved = [f"'{b}' at {i} is '{a}'" for i, (a, b) in enumerate(zip(known, wanted, strict=False)) if a != b]
        parts.append("in another order: " + _joined(moved))
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    return _joined([f"'{name}'" for name in names])


def _joined(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - MAX_LISTED} more" if len(parts) > MAX_LISTED else ""
    return ", ".join(parts[:MAX_LISTED]) + more
