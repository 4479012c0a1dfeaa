"""Groups of masks (drives, patients, sites) as classes of their own: a selection that covers them as it covers classes.

A census says nothing of what masks do not show, such as the light of a drive or the scanner of a hospital. Where ids
tell where a mask comes from, each origin becomes one more class, which its masks hold in full; the objective, its bound
and its optimisers stay what they are.
"""

import re
from dataclasses import replace

import numpy as np
import scipy.sparse

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.census import MaskCensus

GROUP = "group "
"""What stands before the name of a group among the classes."""


def with_groups(census: MaskCensus, group_by: str) -> MaskCensus:
    """The census with a class 'group NAME' behind the others for each group of its masks.

    Args:
        census: whose ids tell the groups.
        group_by: a regular expression that is searched for in each id; its first bracket, or without any what it
            matched, is the group's name. '^[^_]+' takes what stands before the first underscore.

    Raises:
        UsageError: no regular expression, an id in which it is not found, or more classes and groups than 255.
    """
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UsageError(f"group_by '{group_by}' is no regular expression: {error}.") from None
    names = [_group_of(pattern, item_id) for item_id in census.ids]
    groups = sorted(set(names))
    if census.num_classes + len(groups) > IGNORE:
        raise UsageError(
            f"group_by '{group_by}' makes {len(groups)} groups (for example '{groups[0]}' and '{groups[-1]}'), "
            f"and beside {census.num_classes} classes at most {IGNORE - census.num_classes} fit; group more "
            "coarsely."
        )
    columns = np.searchsorted(groups, names)
    cells = (census.mask_px, (np.arange(len(names)), columns))
    held = scipy.sparse.csr_array(cells, shape=(len(names), len(groups)), dtype=census.pixels.dtype)
    return replace(
        census,
        class_names=(*census.class_names, *(f"{GROUP}{name}" for name in groups)),
        pixels=scipy.sparse.csr_array(scipy.sparse.hstack([census.pixels, held], format="csr")),
    )


def _group_of(pattern: re.Pattern[str], item_id: str) -> str:
    found = pattern.search(item_id)
    if found is None:
        raise UsageError(
            f"group_by '{pattern.pattern}' is not found in the id '{item_id}'; it has to match every id, for "
            "example '^[^_]+' for what stands before the first underscore."
        )
    name = found.group(1) if pattern.groups else found.group()
    return name or ""
