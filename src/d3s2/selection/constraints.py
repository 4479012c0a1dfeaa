"""What the user demands of a selection beside its method, checked against the census."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from d3s2.base.errors import UsageError
from d3s2.base.names import nearest
from d3s2.data.census import MaskCensus
from d3s2.selection.objectives import MAX_WEIGHT


@dataclass(frozen=True)
class Constraints:
    """Demands by name.

    Args:
        force: masks that are chosen first, in any case.
        forbid: masks that are never chosen.
        force_classes: classes that at least one chosen mask covers.
        forbid_classes: classes of which no chosen mask holds a single pixel.
        quotas: class -> chosen masks that cover it, at least.
    """

    force: Sequence[str] = ()
    forbid: Sequence[str] = ()
    force_classes: Sequence[str] = ()
    forbid_classes: Sequence[str] = ()
    quotas: Mapping[str, int] | None = None

    def forced_rows(self, census: MaskCensus) -> Int64[np.ndarray, " f"]:
        """Rows of the census, each once; raises UsageError for an unknown id."""
        return _rows_of(census, self.force, "force")

    def open_rows(self, census: MaskCensus) -> Bool[np.ndarray, " n"]:
        """The masks that are not forbidden; raises UsageError for unknown names, or where a forced one is forbidden."""
        open_rows = np.ones(len(census), dtype=bool)
        open_rows[_rows_of(census, self.forbid, "forbid")] = False
        if self.forbid_classes:
            columns = [class_position(census, name, "forbid_classes") for name in self.forbid_classes]
            open_rows[census.pixels[:, columns].sum(axis=1) > 0] = False
        for row in self.forced_rows(census):
            if not open_rows[row]:
                raise UsageError(
                    f"Mask '{census.ids[row]}' is forced, and forbidden by forbid or forbid_classes; choose one."
                )
        return open_rows

    def class_quotas(self, census: MaskCensus) -> Int64[np.ndarray, " c"]:
        """q_c, 0 where a class has none; raises UsageError for unknown names and negative numbers."""
        quotas = np.zeros(len(census.class_names), dtype=np.int64)
        for name in self.force_classes:
            quotas[class_position(census, name, "force_classes")] = 1
        for name, quota in (self.quotas or {}).items():
            if quota < 0:
                raise UsageError(f"quotas: class '{name}' asks for {quota} masks, expected 0 or more.")
            position = class_position(census, name, "quotas")
            quotas[position] = max(quota, quotas[position])
        return quotas


def class_position(census: MaskCensus, name: str, where: str) -> int:
    """The train id of a class; raises UsageError with the nearest name for an unknown one."""
    if name in census.class_names:
        return census.class_names.index(name)
    hint = nearest(name, census.class_names)
    suggestion = f"did you mean '{hint}'?" if hint else f"known are {', '.join(census.class_names[:10])} ..."
    raise UsageError(f"{where}: there is no class '{name}' among the {len(census.class_names)} classes; {suggestion}")


def weights_of(census: MaskCensus, class_weights: Mapping[str, float] | None) -> Float64[np.ndarray, " c"]:
    """w_c, 1 where none is given; raises UsageError for unknown names and weights outside 0..1000."""
    weights = np.ones(len(census.class_names))
    for name, weight in (class_weights or {}).items():
        if not 0 <= weight <= MAX_WEIGHT:
            raise UsageError(f"class_weights: '{name}' has weight {weight}, expected 0 to {MAX_WEIGHT:g}.")
        weights[class_position(census, name, "class_weights")] = weight
    return weights


def check_quotas(census: MaskCensus, quotas: NDArray[np.int64], held: NDArray[np.int64], found: str) -> None:
    """Raises UsageError for the first class of which fewer masks are `held` than its quota; `found` says by whom."""
    short = np.flatnonzero(held < quotas)
    if len(short):
        c = int(short[0])
        raise UsageError(
            f"quotas: class '{census.class_names[c]}' asks for {quotas[c]} masks, {found} {held[c]}; lower its quota, "
            "choose more masks, or loosen the other constraints."
        )


def _rows_of(census: MaskCensus, ids: Sequence[str], where: str) -> Int64[np.ndarray, " f"]:
    if not ids:
        return np.zeros(0, dtype=np.int64)
    wanted = set(ids)
    rows = {item_id: row for row, item_id in enumerate(census.ids) if item_id in wanted}
    unknown = [item_id for item_id in ids if item_id not in rows]
    if unknown:
        raise UsageError(
            f"{where}: no mask of the census has the id '{unknown[0]}' ({len(unknown)} of {len(ids)} ids are unknown); "
            f"ids look like '{census.ids[0]}'."
        )
    return np.array([rows[item_id] for item_id in dict.fromkeys(ids)], dtype=np.int64)
