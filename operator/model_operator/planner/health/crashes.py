"""The crashes of a serving revision's pods over time: when they have been calm for long enough, and when they loop.

The evidence is in the status of the pods (restart count, the ends of the last two runs, the time of Ready), so a new
process of the operator sees the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.domain.objects import ContainerEnd, Pod
from model_operator.domain.revision import Side
from model_operator.domain.world import Track
from model_operator.planner.health.container_exits import (
    BARE_EXITS,
    bare_exits,
    describe_exit,
    is_kill,
    last_end,
    start_report,
)
from model_operator.planner.health.container_problems import container_problem
from model_operator.planner.health.disruptions import displacement
from model_operator.planner.health.reasons import Failure, failure, worst

CALM_MARGIN = timedelta(seconds=30)
"""A second crash rarely comes at the same second as the first. Times are whole seconds, and a start takes longer on a
busy node."""
LOOP_SPAN = timedelta(minutes=15)
"""Two crashes of a pod further apart than this are no loop. The kubelet waits up to 5 minutes between two starts and
resets this delay after a run of 10 minutes (MaxContainerBackOff in pkg/kubelet/kubelet.go; client-go's Backoff forgets
an entry after twice its maximum)."""
LONGEST_CALM = timedelta(minutes=10)
"""A run of this length is no part of a loop, by the same rule of the kubelet."""


@dataclass(frozen=True, slots=True)
class Calm:
    """When the pods that crashed will have answered for as long as it took them to crash."""

    at: datetime
    """The latest of all pods. For a pod that is down, as if it were ready again at once."""
    down: bool
    """Whether a pod that crashed is not ready again."""
    crash: Failure
    """The report of the latest crash."""


@dataclass(frozen=True, slots=True)
class CrashLoop:
    """All pods of a revision crash again and again, and none of them is ready."""

    failure: Failure
    by_itself: bool
    """Whether each server ended by itself on side Model. False if one was killed, for memory or by a probe, because
    more requests or a full node can be the cause."""


def find_calm(revision: str, track: Track, since: datetime, longest: timedelta) -> Calm | None:
    """When the pods of ``revision`` will be calm after their crashes since ``since``. None if none crashed.

    A pod is calm when it has been ready for as long as its last run lasted, and CALM_MARGIN more. Time before
    ``since`` counts up to ``longest``, because a pod may wait for days before it gets a request.
    """
    found = [
        (pod, ended, ended.finished)
        for pod in _staying(revision, track)
        # a server that the node could not start has not crashed
        if (ended := last_end(pod.server, since)) and ended.finished and not start_report(ended)
    ]
    if not found:
        return None
    moments, down = [], False
    for pod, ended, finished in found:
        back = pod.condition("Ready").since if pod.is_ready and pod.server.running else None
        down = down or back is None
        lasted = _length(ended, finished, since, longest)
        moments.append(max(back or finished, finished) + lasted + CALM_MARGIN)
    latest = max(found, key=lambda one: one[2])[1]
    how = describe_exit(latest)
    text = f"the servers of {len(found)} pods exited in the watch window, the last one {how}"
    if len(found) == 1:
        text = f"a server exited {how} in the watch window"
    crash = failure("ServerExited", text)
    return Calm(max(moments), down, crash)


def find_crash_loop(revision: str, track: Track, now: datetime) -> CrashLoop | None:
    """The crash loop of ``revision``. None if one of its pods is ready, or has another problem than its crashes.

    A pod that waits for a node, an image or its files is such a problem: the environment can be the cause.
    """
    pods = _staying(revision, track)
    if not pods or any(pod.is_ready for pod in pods):
        return None
    after, failures, by_itself = now - LOOP_SPAN, list[Failure](), True
    for pod in pods:
        ended, exits = last_end(pod.server, after), bare_exits(pod, pod.server, after)
        if ended is None or exits < BARE_EXITS:
            return None
        found = container_problem(pod, pod.server, after)
        if found is None or found.failure.side is Side.ENVIRONMENT:
            return None
        failures.append(found.failure)
        by_itself = by_itself and found.failure.side is Side.MODEL and not is_kill(ended)
    decisive = worst(failures)
    return CrashLoop(decisive, by_itself) if decisive else None


def _staying(revision: str, track: Track) -> Sequence[Pod]:
    """The pods of the revision that are not deleted, evicted or lost with their node."""
    return [
        pod for pod in track.pods if pod.revision == revision and not pod.leaving and not displacement(pod)
    ]


def _length(ended: ContainerEnd, finished: datetime, since: datetime, longest: timedelta) -> timedelta:
    live = finished - since
    return min(finished - ended.started, max(live, longest)) if ended.started else live
