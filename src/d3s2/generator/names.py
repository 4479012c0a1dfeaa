"""What configs say of generators and guidance: read without importing torch."""

from typing import Literal

Mode = Literal["fast", "full", "both"]
"""Of guidance: whether its gradient goes through the diffusion network."""

NORM_GROUPS, HEAD_CHANNELS = 16, 32
"""The compact generator normalises in so many groups, and its attention has heads of so many channels."""
