"""Which jobs may start, how far they are, and about how long is left: pure functions of what was seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PERCENT = re.compile(r"(\d{1,3}) %")
TRUSTED_PERCENT = 25
"""From here on a job's own share is all that counts for the estimate."""
SOON_SECONDS = 5.0
"""What a job that runs longer than usual is said to take still, at least."""


@dataclass(frozen=True)
class Job:
    """One command that makes something; everything in it can be done again at no cost."""

    name: str
    """A noun phrase, as a person reads it: "Kubernetes programs"."""
    command: tuple[str, ...]
    usual_seconds: float
    """With empty caches, beside the others on two idle cores; only for the estimate of what is left."""
    after: tuple[str, ...] = ()
    """The names of the jobs that must be done before."""


@dataclass(frozen=True)
class Progress:
    """What was seen of one job so far. ``ended`` and ``began`` are seconds since the first job began."""

    began: float | None = None
    ended: float | None = None
    words: str = ""
    """The last line that it printed."""


def ready(jobs: Sequence[Job], seen: Mapping[str, Progress]) -> list[Job]:
    """The jobs that have not begun and wait for nothing."""
    return [
        job
        for job in jobs
        if seen[job.name].began is None and all(seen[name].ended is not None for name in job.after)
    ]


def percent(words: str) -> int | None:
    """How far a job says it is, from 1 to 99; None when it does not say."""
    found = _PERCENT.search(words)
    return int(found.group(1)) if found and 0 < int(found.group(1)) < 100 else None


def seconds_left(jobs: Sequence[Job], seen: Mapping[str, Progress], now: float) -> float:
    """About how long it takes until all jobs are done: the longest chain of what is left.

    Each of ``jobs`` stands behind those that it waits for.
    """
    ends: dict[str, float] = {}
    for job in jobs:
        waits = max((ends[name] for name in job.after), default=0.0)
        ends[job.name] = waits + _own_seconds_left(job, seen[job.name], now)
    return max(ends.values(), default=0.0)


def _own_seconds_left(job: Job, seen: Progress, now: float) -> float:
    if seen.ended is not None:
        return 0.0
    if seen.began is None:
        return job.usual_seconds
    spent = now - seen.began
    if share := percent(seen.words):
        # modules are fetched before the first package is compiled, so little says little
        trust = min(share / TRUSTED_PERCENT, 1)
        usual = job.usual_seconds * (100 - share) / 100
        return trust * spent * (100 - share) / share + (1 - trust) * usual
    return max(job.usual_seconds - spent, SOON_SECONDS)


def line(jobs: Sequence[Job], seen: Mapping[str, Progress], now: float) -> str:
    """About how long is left, what is under way and what is done; a narrow terminal cuts the end off."""
    done = [job.name for job in jobs if seen[job.name].ended is not None]
    under_way = [
        _with_percent(job.name, seen[job.name].words)
        for job in jobs
        if seen[job.name].began is not None and seen[job.name].ended is None
    ]
    parts = [
        f"about {_rounded(seconds_left(jobs, seen, now))} left",
        f"under way: {', '.join(under_way)}" if under_way else "",
        f"done: {', '.join(done)}" if done else "",
    ]
    return " | ".join(filter(None, parts))


def _with_percent(name: str, words: str) -> str:
    share = percent(words)
    return f"{name} {share} %" if share else name


def _rounded(seconds: float) -> str:
    if seconds < 55:
        return f"{max(round(seconds, -1), 10):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds > 90 else "1 min"
