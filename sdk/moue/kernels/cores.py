"""How many processors this process may use: fewer, often, than the machine has."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path


def usable_cores() -> int:
    """The processors it may run on, as far as its control group grants their time; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, granted_cores())))


@cache
def granted_cores(proc: Path = Path("/proc/self"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """What containers limit: processor time per time; infinite where nothing limits it.

    Args:
        proc: where the system says which control groups the process is in.
        root: where the control groups are, of version 1 or 2.
    """
    try:
        groups = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    limit = math.inf
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, read = root, _cpu_max
        elif "cpu" in controllers.split(","):
            top, read = root / controllers, _cfs_quota
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):  # a group is bound by those it lies in
            if not folder.is_relative_to(top):
                break
            limit = min(limit, read(folder))
    return limit


def _cpu_max(folder: Path) -> float:
    return _ratio(_words(folder / "cpu.max"))


def _cfs_quota(folder: Path) -> float:
    return _ratio([*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")])


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float:
    """`200000 100000` is 2 processors; `max` and -1 are no limit."""
    if len(words) != 2 or not (words[0].isdecimal() and words[1].isdecimal()):
        return math.inf
    quota, period = map(int, words)
    return quota / period if quota > 0 and period > 0 else math.inf
