"""What configs say of selection: read without importing torch or numpy."""

from typing import Literal

METHOD_NAMES = (
    "class-balanced",
    "rarest-first",
    "stratified",
    "random",
    "k-center",
    "herding",
    "facility-location",
)
"""Keys of `selection.select.METHODS`, in its order."""

CoverageKind = Literal["mixed", "presence", "mass"]
"""What a mask adds to a class: half of each, its presence, its share of pixels."""
