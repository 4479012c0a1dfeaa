"""Makes selection_rankings.tsv: rankings with gains of every method on a census that is written down as arithmetic.

Command: PYTHONPATH=src python tests/golden/selection_rankings.py
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from d3s2.base.formats.files import write_text
from d3s2.data.census.counts import MaskCensus
from d3s2.selection.select import select_masks
from d3s2.selection.settings import METHODS

GOLDEN = Path(__file__).with_suffix(".tsv")
NUM_MASKS, NUM_CLASSES, NUM_CHOSEN = 240, 12, 12


def arithmetic_census() -> MaskCensus:
    """Class c is in about one mask of 2 + 3 c; which ones, and with how many pixels, is a product modulo a prime."""
    mask, class_id = np.mgrid[:NUM_MASKS, :NUM_CLASSES].astype(np.int64)
    present = (mask * 7919 + class_id * 104_729 + mask * class_id * 31) % 1009 % (2 + 3 * class_id) == 0
    pixels = present * (1 + (mask * 6151 + class_id * 3571) % 997)
    return MaskCensus(
        class_names=tuple(f"class-{c:02d}" for c in range(NUM_CLASSES)),
        ids=[f"mask-{i:03d}" for i in range(NUM_MASKS)],
        pixels=scipy.sparse.csr_array(pixels.astype(np.int32)),
        mask_px=np.full(NUM_MASKS, 16_384, dtype=np.int32),
    )


def rankings() -> list[tuple[str, str, str, float]]:
    """Setting, mask, class that it was taken for, and gain of each pick."""
    census = arithmetic_census()
    settings: dict[str, dict[str, Any]] = {method: {"method": method} for method in METHODS}
    settings |= {f"class-balanced {kind}": {"coverage": kind} for kind in ("presence", "mass")}
    settings["class-balanced constrained"] = {
        "force": ["mask-109"],
        "forbid_classes": ["class-02"],
        "quotas": {"class-11": 3},
        "class_weights": {"class-01": 0.25},
        "min_pixels": 100,
    }
    return [
        (name, pick.item_id, pick.reason_class or "-", pick.gain)
        for name, arguments in settings.items()
        for pick in select_masks(census, NUM_CHOSEN, **arguments).picks
    ]


if __name__ == "__main__":
    write_text(GOLDEN, "".join(f"{name}\t{mask}\t{reason}\t{gain:.9f}\n" for name, mask, reason, gain in rankings()))
