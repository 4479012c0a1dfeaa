"""Where the work of a call runs: by name, and which share of it. Not part of a run's config: it changes no result."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from d3s2.base.errors import UsageError
from d3s2.base.names import choose

EXECUTORS = ("local", "ray")
SLURM_ID, SLURM_COUNT = "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"
SLURM_FIRST, SLURM_STEP = "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"


@dataclass(frozen=True)
class Share:
    """One of several processes that share the pieces of a run through its folder.

    Args:
        number: from 1.
        count: of the processes.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def file_name(self) -> str:
        """Of its log and its lock."""
        return f"{self.number}-of-{self.count}"


@dataclass(frozen=True)
class Execution:
    """Where the pieces of a call are done.

    Args:
        executor: 'local' (this process, or workers of this machine) or 'ray'.
        workers: side by side; 0 takes one a GPU on GPUs, and on a CPU what suits the step.
        address: of a Ray cluster ('auto' finds the one of this machine); None starts one here.
        share: None does all pieces.
        publish: a folder or URL where finished items are copied to.
    """

    executor: str = "local"
    workers: int = 0
    address: str | None = None
    share: Share | None = None
    publish: str | None = None

    @property
    def share_name(self) -> str | None:
        """That of the share, as a file name."""
        return None if self.share is None else self.share.file_name

    def __post_init__(self) -> None:
        choose(dict.fromkeys(EXECUTORS), self.executor, "executor")
        if self.workers < 0:
            raise UsageError(f"--workers is {self.workers}, expected 0 (what suits the machine) or more.")
        if self.address is not None and self.executor != "ray":
            raise UsageError("--address names a Ray cluster; give --executor ray with it, or leave it out.")
        if self.share is not None and self.executor != "local":
            raise UsageError(
                "--shard shares the work through the folder, --executor ray through Ray; give one of them."
            )


HERE = Execution()
"""This process, or workers of this machine, as suits each step."""


def share_of(text: str | None, environment: Mapping[str, str] = os.environ) -> Share | None:
    """The share that --shard asks for, or else the place in a Slurm array; None where this process is the only one.

    Args:
        text: 'i/n', i from 1.
        environment: of this process; Slurm counts tasks from SLURM_ARRAY_TASK_MIN.

    Raises:
        UsageError: it is none.

    Examples:
        >>> from d3s2.execution import share_of
        >>> share_of("2/4")
        Share(number=2, count=4)
    """
    if text is None:
        return _share_of_array(environment)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    share = Share(int(found[1]), int(found[2])) if found else None
    if share is None or not 1 <= share.number <= share.count:
        raise UsageError(f"--shard is '{text}', expected i/n with i from 1 to n, for example --shard 2/4.")
    return share if share.count > 1 else None


def _share_of_array(environment: Mapping[str, str]) -> Share | None:
    if SLURM_ID not in environment or environment.get(SLURM_COUNT, "1") == "1":
        return None
    texts = [environment.get(name, default) for name, default in _SLURM.items()]
    if not all(text.isdecimal() for text in texts):
        raise UsageError(f"{_as_text(environment)}: expected numbers; give --shard i/n yourself.")
    number, count, first, step = (int(text) for text in texts)
    position, rest = divmod(number - first, max(step, 1))
    if rest or not 0 <= position < count:
        raise UsageError(
            f"{_as_text(environment)}: expected the ids of the array to lie evenly, as 1 to {count} do; correct "
            "the array, or give --shard i/n yourself."
        )
    return Share(position + 1, count)


_SLURM = {SLURM_ID: "", SLURM_COUNT: "", SLURM_FIRST: "1", SLURM_STEP: "1"}


def _as_text(environment: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={environment[name]}" for name in _SLURM if name in environment)
