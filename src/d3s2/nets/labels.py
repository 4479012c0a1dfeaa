"""From the labels that a network knows to the classes of a data set."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from d3s2.base.errors import ModelError
from d3s2.base.names import nearest

MAX_LISTED = 8

LabelMap = Mapping[str, str | int | Sequence[str | int]] | Literal["in-order"]
"""Class of the data set -> the network's labels (names or ids) that mean it; classes left out keep their own name.
Or 'in-order': the network's labels, whatever their names, are the data set's classes in the order of train ids."""

Groups = tuple[tuple[int, ...], ...]
"""For each class of the data set, in the order of train ids, the network's labels that mean it."""


def group_labels(where: str, known: Sequence[str], wanted: Sequence[str], label_map: LabelMap | None = None) -> Groups:
    """Which labels of a network stand for each class of the data set.

    Args:
        where: the network, as messages call it.
        known: names of the network's labels, in its order.
        wanted: the data set's classes, in the order of train ids.
        label_map: for a network of other classes. None demands the same classes, in any order.

    Raises:
        ModelError: the classes differ and no map says how, or the map does not fit either side.
    """
    if label_map == "in-order":
        if len(known) != len(wanted):
            raise ModelError(
                f"{where}: the network has {len(known)} labels and the data set {len(wanted)} classes, so they cannot "
                "be the same in order; give a label map that names them."
            )
        return tuple((label,) for label in range(len(known)))
    if label_map is None and list(known) == list(wanted):
        return tuple((label,) for label in range(len(known)))
    if label_map is None:
        _require_same_names(where, known, wanted)
    table = label_map or {}
    for name in table:
        if name not in wanted:
            raise ModelError(
                f"{where}: the label map names class '{name}', which the data set has not{_hint(name, wanted)}"
            )
    groups = tuple(_labels_of(where, name, table.get(name, name), known) for name in wanted)
    _require_disjoint(where, groups, known, wanted)
    return groups


def merge_scores(scores: Float[Tensor, "b l h w"], groups: Groups) -> Float[Tensor, "b c h w"]:
    """Scores of the network's labels -> scores of the classes.

    Several labels of one class are added as probabilities: log sum exp of their scores. Labels of no class are
    left out, so the softmax over the classes shares their probability out among the rest.
    """
    if groups == tuple((label,) for label in range(scores.shape[1])):
        return scores
    if all(len(group) == 1 for group in groups):
        return scores[:, [group[0] for group in groups]]
    return torch.stack([scores[:, list(group)].logsumexp(dim=1) for group in groups], dim=1)


def differences(known: Sequence[str], wanted: Sequence[str]) -> str:
    """In words, how the labels of a network differ from the classes of a data set."""
    missing = [name for name in wanted if name not in known]
    surplus = [name for name in known if name not in wanted]
    parts = [f"{len(known)} classes instead of {len(wanted)}"] if len(known) != len(wanted) else []
    if missing:
        parts.append(f"without {_listed(missing)}")
    if surplus:
        parts.append(f"with {_listed(surplus)}")
    return "; ".join(parts) or "a name is given twice"


def _require_same_names(where: str, known: Sequence[str], wanted: Sequence[str]) -> None:
    if len(known) == len(wanted) and set(known) == set(wanted):
        return
    unnamed = all(name == f"LABEL_{label}" for label, name in enumerate(known))
    unnamed_hint = "its labels have no names; where they are the data set's in order, the map 'in-order' says so"
    reason = unnamed_hint if unnamed else differences(known, wanted)
    raise ModelError(
        f"{where}: the network knows other classes than the data set ({reason}); take a network of this data set, or "
        "give a label map: for each class the network's labels that mean it."
    )


def _labels_of(where: str, name: str, given: str | int | Sequence[str | int], known: Sequence[str]) -> tuple[int, ...]:
    labels = [given] if isinstance(given, str | int) else list(given)
    if not labels:
        raise ModelError(f"{where}: the label map gives no label for class '{name}'; name at least one.")
    return tuple(_label_id(where, name, label, known) for label in labels)


def _label_id(where: str, name: str, label: str | int, known: Sequence[str]) -> int:
    if isinstance(label, int):
        if not 0 <= label < len(known):
            raise ModelError(f"{where}: class '{name}' is mapped to label {label}, outside 0..{len(known) - 1}.")
        return label
    if known.count(label) > 1:
        raise ModelError(f"{where}: the network has several labels called '{label}'; map class '{name}' to ids.")
    if label not in known:
        raise ModelError(
            f"{where}: class '{name}' is mapped to '{label}', which is no label of the network{_hint(label, known)}"
        )
    return known.index(label)


def _require_disjoint(where: str, groups: Groups, known: Sequence[str], wanted: Sequence[str]) -> None:
    owner: dict[int, str] = {}
    for name, group in zip(wanted, groups, strict=True):
        for label in group:
            if label in owner:
                raise ModelError(
                    f"{where}: the network's label '{known[label]}' is mapped to both '{owner[label]}' and '{name}'; "
                    "give it to one class."
                )
            owner[label] = name


def _hint(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else f"; known are {_listed(known)}."


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(f"'{name}'" for name in names[:MAX_LISTED]) + more
