"""How many processors the container may use, and how many workers and threads fit: a part of serve.py."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def cpu_limit(cgroup: Path = CGROUP) -> float | None:
    """The container's CPU limit in cores, as its cgroup has it (version 2, or 1). None if there is no limit."""
    with contextlib.suppress(OSError, ValueError):
        most, of = (cgroup / "cpu.max").read_text().split()
        return None if most == "max" else int(most) / int(of)
    with contextlib.suppress(OSError, ValueError):
        quota = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    return None


def usable_cores(limit: float | None) -> float:
    """The cores that the container can use: its limit, or all that it is allowed to run on."""
    cores = len(os.sched_getaffinity(0))
    return min(limit, cores) if limit else cores


def worker_count(limit: float | None, cores: float) -> int:
    """The workers of a container without a setting: one for each core of its limit, one if it has no limit."""
    return max(1, int(min(limit, cores) + 0.5)) if limit else 1


def thread_settings(cores: float, workers: int, env: Mapping[str, str]) -> dict[str, str]:
    """The environment variables that give each worker's libraries their share of the cores. Set ones are kept."""
    share = str(max(1, int(cores / workers)))
    return {variable: share for variable in THREAD_VARIABLES if variable not in env}


def cpu_seconds(pid: int) -> float | None:
    """The CPU time that a process has used so far. None if it can't be read."""
    try:
        # the clock of a process: linux/posix-timers.h, MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None
