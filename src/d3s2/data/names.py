"""What configs say of data: read without importing torch or numpy."""

from typing import Literal

Fit = Literal["stretch", "crop", "pad"]
"""What happens to an image of another aspect ratio."""
