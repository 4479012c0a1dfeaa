"""Ranges of numbers in settings: wide enough for whatever makes sense, narrow enough that a slip is a sentence."""

from typing import Annotated, Any

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
SidePx = Annotated[int, Field(ge=1, le=2**15)]
NotNegative = Annotated[float, Field(ge=0, le=1e6)]
Deviation = Annotated[float, Field(ge=0, le=10)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]


def not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values as they are; after each of them was checked, so that one problem is one sentence."""
    if not values:
        raise ValueError("needs at least one value")
    return values
