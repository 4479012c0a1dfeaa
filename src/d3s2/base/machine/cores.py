"""Cores: how many this process may use, and how many threads want them.

A container's share of the processor is a quota, which the affinity does not show. It is read from the control groups of
the process and of all that these lie in; the smallest holds.

Source: cgroup v2 `cpu.max` and v1 `cpu.cfs_quota_us` (kernel documentation, admin-guide/cgroup-v2.rst and
scheduler/sched-bwc.rst).
"""

import math
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc")
SAMPLES, SAMPLE_S = 5, 0.02


def num_cores() -> int:
    """Cores that this process may use: by its affinity and by the quota of its container, a part of one as a whole."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota(proc: Path = PROC) -> float | None:
    """Cores' worth of processor time that the control groups of this process allow; None where they set no limit."""
    quotas = [quota for folder in _control_groups(proc) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def others_runnable(proc: Path = PROC) -> int | None:
    """Threads of the machine, this one not among them, that run or wait for a core; None where nothing tells."""
    counts = []
    for number in range(SAMPLES):
        time.sleep(SAMPLE_S if number else 0)
        try:
            running = (proc / "loadavg").read_text().split()[3].partition("/")[0]
            counts.append(int(running) - 1)
        except (OSError, ValueError, IndexError):
            return None
    return max(0, round(statistics.median(counts)))


def crowding(threads: int, proc: Path = PROC) -> str | None:
    """A sentence where `threads` of this process and what else runs are more than the machine has cores."""
    others, cores = others_runnable(proc), os.cpu_count() or 1
    if others is None or not others or others + threads <= cores:
        return None
    return (
        f"{others + threads} threads are runnable on {cores} cores ({threads} of this call, {others} of other "
        "processes), so all of them take longer, often many times; wait for the others, or give each call fewer "
        "threads (OMP_NUM_THREADS, evaluate.workers)."
    )


def _control_groups(proc: Path) -> Iterator[Path]:
    """Folders of the control groups of this process that may limit its processor time, with all that they lie in."""
    try:
        groups = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
        mounts = [line.split(" ") for line in (proc / "self/mountinfo").read_text().splitlines()]
    except OSError:
        return
    for mount in mounts:
        if "-" not in mount[6:]:
            continue
        kind, _, options = mount[mount.index("-", 6) + 1 :][:3]
        for _, controllers, path in groups:
            if (kind == "cgroup2" and not controllers) or (
                kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options.split(",")
            ):
                yield from _nested(Path(mount[4]), PurePosixPath(mount[3]), PurePosixPath(path))


def _nested(mount: Path, root: PurePosixPath, path: PurePosixPath) -> Iterator[Path]:
    """The folder of a group and those above it, as far as they can be seen below the mount, which shows `root`."""
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    for part in (inside, *inside.parents):
        yield mount / part


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
