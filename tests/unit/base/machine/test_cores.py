"""How many cores a process may use, from control groups as the kernel shows them."""

import os
from pathlib import Path

import pytest

from d3s2.base.machine import cores
from d3s2.base.machine.cores import cpu_quota, crowding, num_cores, others_runnable


def proc_of(tmp_path: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A /proc and control groups; `{at}` in `mounts` is the folder in which `files` lie."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text(groups)
    (proc / "self/mountinfo").write_text(mounts.format(at=tmp_path))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return proc


V2 = "30 23 0:26 / {at}/cg rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 / {at}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n33 31 0:30 / {at}/mem rw - cgroup cgroup rw,memory\n"
DISK = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "expected"),
    [
        pytest.param("0::/\n", DISK + V2, {"cg/cpu.max": "200000 100000\n"}, 2.0, id="a container of version 2"),
        pytest.param("0::/\n", DISK + V2, {"cg/cpu.max": "max 100000\n"}, None, id="no limit"),
        pytest.param("0::/\n", DISK + V2, {"cg/cgroup.procs": ""}, None, id="the root has no cpu.max"),
        pytest.param(
            "0::/a/b\n",
            V2,
            {"cg/a/cpu.max": "150000 100000", "cg/a/b/cpu.max": "400000 100000"},
            1.5,
            id="the group above is narrower",
        ),
        pytest.param(
            "0::/a/b\n",
            V2,
            {"cg/a/cpu.max": "max 100000", "cg/a/b/cpu.max": "50000 100000"},
            0.5,
            id="the group itself is narrower",
        ),
        pytest.param(
            "4:memory:/x\n1:cpu,cpuacct:/x/y\n",
            V1,
            {
                "cpu/x/y/cpu.cfs_quota_us": "-1\n",
                "cpu/x/y/cpu.cfs_period_us": "100000\n",
                "cpu/x/cpu.cfs_quota_us": "300000\n",
                "cpu/x/cpu.cfs_period_us": "100000\n",
            },
            3.0,
            id="version 1, the group above",
        ),
        pytest.param(
            "1:cpu,cpuacct:/docker/abc\n",
            "32 31 0:29 /docker/abc {at}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            2.5,
            id="version 1, the container sees its own group only",
        ),
        pytest.param(
            "1:cpu:/docker/abc\n",
            "32 31 0:29 / {at}/cpu rw - cgroup cgroup rw,cpu\n",
            {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "50000"},
            2.0,
            id="version 1, the path is the host's",
        ),
        pytest.param("nonsense\n", "nonsense\n", {}, None, id="what nobody understands"),
        pytest.param("0::/\n", V2, {"cg/cpu.max": "many few\n"}, None, id="no numbers"),
    ],
)
def test_the_quota_is_that_of_the_narrowest_group(
    tmp_path: Path, groups: str, mounts: str, files: dict[str, str], expected: float | None
) -> None:
    assert cpu_quota(proc_of(tmp_path, groups, mounts, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 64), (2.0, 2), (1.5, 2), (0.2, 1), (80.0, 64)])
def test_a_container_of_few_cores_on_a_large_machine(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert num_cores() == expected


def test_more_threads_than_cores_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    (tmp_path / "loadavg").write_text("1.17 0.86 0.67 3/112 555\n")
    assert others_runnable(tmp_path) == 2
    said = crowding(2, tmp_path)
    assert said is not None
    assert said.startswith(
        "4 threads are runnable on 2 cores (2 of this call, 2 of other processes), so all of them take"
    )
    (tmp_path / "loadavg").write_text("0.00 0.00 0.00 1/112 555\n")
    assert crowding(2, tmp_path) is None
    assert crowding(2, tmp_path / "nowhere") is None
