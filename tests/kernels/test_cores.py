"""Cores follow the affinity and the control group, of either version."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from moue.kernels.cores import granted_cores, usable_cores


def files(root: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("contents", "cores"),
    [
        ({}, math.inf),
        ({"proc/cgroup": "0::/a/b\n"}, math.inf),
        ({"proc/cgroup": "0::/a/b\n", "fs/a/b/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/cgroup": "0::/a/b\n", "fs/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/cgroup": "0::/a/b\n", "fs/a/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/cgroup": "0::/a/b\n",
                "fs/a/cpu.max": "300000 100000\n",
                "fs/a/b/cpu.max": "400000 100000\n",
            },
            3,
        ),
        (
            {
                "proc/cgroup": "4:memory:/a\n1:cpu:/a\n0::/\n",
                "fs/cpu/a/cpu.cfs_quota_us": "200000\n",
                "fs/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/cgroup": "1:cpu,cpuacct:/\n",
                "fs/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "fs/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            math.inf,
        ),
        ({"proc/cgroup": "0::/a\n", "fs/a/cpu.max": "nonsense\n"}, math.inf),
    ],
)
def test_granted_cores(tmp_path: Path, contents: dict[str, str], cores: float) -> None:
    files(tmp_path, contents)
    assert granted_cores(tmp_path / "proc", tmp_path / "fs") == cores


@pytest.mark.parametrize(("granted", "cores"), [(math.inf, 3), (2.5, 3), (1.5, 2), (0.1, 1)])
def test_usable_cores(monkeypatch: pytest.MonkeyPatch, granted: float, cores: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr("moue.kernels.cores.granted_cores", lambda: granted)
    assert usable_cores() == cores
