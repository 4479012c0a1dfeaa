"""Groups of masks (drives, patients, sites, looks) as classes of their own: covered as classes are.

A census says nothing of what masks do not show, such as the light of a drive or the scanner of a hospital. Where ids
tell where a mask comes from, or features of its image how it looks, each group becomes one more class, which its masks
hold in full; the objective, its bound and its optimisers stay what they are.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse
from jaxtyping import Float32

from d3s2.base.errors import UsageError
from d3s2.base.train_ids import IGNORE
from d3s2.data.census import MaskCensus
from d3s2.selection.clusters import clusters_of

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
    return _with_classes(census, [_group_of(pattern, item_id) for item_id in census.ids], f"group_by '{group_by}'")


def with_image_groups(census: MaskCensus, features: Float32[np.ndarray, "n d"], num_groups: int) -> MaskCensus:
    """The census with a class 'group look N' behind the others for each cluster of the images.

    Args:
        features: a finite vector of the image of each mask, in the census' order.
        num_groups: clusters of k-means, 2 at least; fewer where fewer images differ.

    Raises:
        UsageError: more classes and groups than 255.
    """
    _, members = clusters_of(features.astype(np.float64), num_groups)
    return _with_classes(census, [f"look {member}" for member in members], f"image_groups {num_groups}")


def _with_classes(census: MaskCensus, names: Sequence[str], what: str) -> MaskCensus:
    """`names`: of the group of each mask; `what` made them, for a message."""
    groups = sorted(set(names))
    if census.num_classes + len(groups) > IGNORE:
        raise UsageError(
            f"{what} makes {len(groups)} groups (for example '{groups[0]}' and '{groups[-1]}'), "
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
