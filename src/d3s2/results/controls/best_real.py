"""The real subset that a distilled set is compared with."""

from dataclasses import dataclass

from d3s2.base.formats.records import RECORD


@dataclass(frozen=True)
class RealChoice:
    """Which real subset stands for the best one, and why.

    Args:
        chosen: name of the set, without '-soft'.
        soft: whether students learnt from soft labels too.
        dataset: that its students were scored on, for example 'scenes/val'; never the test split.
        student: architecture.
        scores: of each candidate, mIoU by seed, 0..1.
    """

    __pydantic_config__ = RECORD

    chosen: str
    soft: bool
    dataset: str
    student: str
    scores: dict[str, tuple[float, ...]]
