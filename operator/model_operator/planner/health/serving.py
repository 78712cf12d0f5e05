"""Judges the serving revision during its watch window: which failures count against it, and which don't.

A rollout only shows that a version can start. Memory leaks, native crashes, hangs and errors in answers appear under
real requests, so they count against the version for ``rollout.watchSeconds``. Problems of the environment (nodes,
quotas, too many requests) are reported and never count against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.domain.objects import Autoscaler, Deployment, Pod
from model_operator.domain.revision import Side
from model_operator.domain.world import Track, Traffic
from model_operator.planner.health.candidate import find_refusal
from model_operator.planner.health.container_exits import bare_exits, describe_exit, last_end, start_report
from model_operator.planner.health.pod_state import PodState, pod_state
from model_operator.planner.health.reasons import Failure, failure, worst

BARE_EXITS_OF_ALL_PODS = 3
"""Exits over all pods that make a crash loop. Two in one pod are enough, as in a rollout. Over all pods it takes three,
because a caller may retry one bad request and crash a second pod with it."""
READINESS_PATIENCE = timedelta(seconds=30)
"""Counted from the loss of readiness, which the kubelet reports after three failed probes in 15 s. It outlasts a burst
of requests or a long garbage collection, and a revert still begins within a minute of the first failed probe."""
ENOUGH_REQUESTS = 20
"""With fewer requests, two failed ones would already be 10%."""
ERROR_RATIO = 0.10
"""Far above the ratio of a healthy service, and low enough for a model that fails on one kind of input."""


@dataclass(frozen=True, slots=True)
class ServingJudgement:
    """The problem of a serving revision. Both are None if there is none."""

    failure: Failure | None = None
    """The failure that counts against the revision."""
    trouble: Failure | None = None
    """A problem that is only reported."""
    look_at: datetime | None = None
    """When to look again, because a present problem becomes a failure if it lasts until then."""


@dataclass(frozen=True, slots=True)
class Load:
    """The requests that the pods get, and the autoscaler that adds pods for them."""

    traffic: Traffic
    """Counted since the revision went live."""
    autoscaler: Autoscaler | None = None

    def saturates(self, deployment: Deployment) -> bool:
        """Whether the pods get more requests than they can handle, so that slow probes prove nothing."""
        if self.traffic.saturated or self.autoscaler is None:
            return self.traffic.saturated
        scaled = self.autoscaler.track
        elsewhere = scaled and deployment.name and scaled != deployment.name
        return self.autoscaler.at_maximum and not elsewhere


@dataclass(frozen=True, slots=True)
class _Seen:
    """The revision's pods that are not gone, each with its state, since the revision went live."""

    pods: Sequence[tuple[Pod, PodState]]
    since: datetime
    now: datetime


def judge_serving_pods(
    revision: str, track: Track, load: Load, since: datetime, now: datetime
) -> ServingJudgement:
    """Judges ``revision``, which went live at ``since``, by its track and by the answers of its pods.

    The track may have pods of other revisions. Raises nothing, even if parts of the objects are missing.
    """
    deployment = track.deployment
    if deployment is None or deployment.revision != revision or deployment.replicas == 0:
        return ServingJudgement()
    mine = [pod for pod in track.pods if pod.revision == revision]
    states = [(pod, s) for pod in mine if (s := pod_state(pod, now, since))]
    seen = _Seen([(pod, s) for pod, s in states if not s.gone], since, now)
    silent = _silent_pods(seen)
    lasting = sum(now >= moment + READINESS_PATIENCE for moment in silent)
    saturated = lasting > 0 and load.saturates(deployment) and not _any_exits(seen)
    lost = failure("ReadinessLost", _lost_text(lasting)) if lasting and not saturated else None
    own = [s.failure for _, s in seen.pods]
    overdue = [s.trouble for _, s in seen.pods if _is_overdue(s, now)]
    if found := worst([*own, *overdue, _crashes(seen), lost, _errors(load.traffic)]):
        return ServingJudgement(failure=found)
    troubles = [s.trouble for _, s in states if not s.gone or deployment.is_short]
    if refused := find_refusal(deployment):
        troubles.append(refused[0])
    if saturated:
        troubles.append(failure("Saturated", _saturated_text(lasting)))
    return ServingJudgement(trouble=worst(troubles), look_at=_next_look(seen, silent))


# --- pods that exit -----------------------------------------------------------------------------------


def _crashes(seen: _Seen) -> Failure | None:
    """A crash loop over several pods, each of which has at most a single bare exit."""
    pods = [pod for pod, known in seen.pods if known.failure is None]
    exits = sum(_exits(pod, seen.since) for pod in pods)
    if exits < BARE_EXITS_OF_ALL_PODS:
        return None
    ends = [end for pod in pods if (end := last_end(pod.server, seen.since))]
    return failure(
        "CrashLoop",
        f"the server containers of {len(ends)} pods exited {exits} times since the version went live, one of them "
        f"{describe_exit(ends[-1])}",
    )


def _exits(pod: Pod, since: datetime) -> int:
    """The number of exits of the server in the watch window, for any reason."""
    end = last_end(pod.server, since)
    # a server that the node could not start has not crashed
    return bare_exits(pod, pod.server, since) if end and not start_report(end) else 0


def _any_exits(seen: _Seen) -> bool:
    return any(_exits(pod, seen.since) for pod, _ in seen.pods)


# --- pods that lose readiness -----------------------------------------------------------------------------


def _silent_pods(seen: _Seen) -> list[datetime]:
    """When pods lost their readiness although their server was not restarted."""
    found = []
    for pod, known in seen.pods:
        started, readiness = pod.server.running_since, pod.condition("Ready")
        since = readiness.since
        if known.ready or started is None or since is None or not readiness.is_false:
            continue
        # a pod that was never ready has a condition older than its server. Times are whole seconds
        if pod.server.ready is False and started < since and since >= seen.since:
            found.append(since)
    return found


def _lost_text(pods: int) -> str:
    which = "a pod" if pods == 1 else f"{pods} pods"
    seconds = int(READINESS_PATIENCE.total_seconds())
    return f"{which} that had been ready did not answer the readiness probe for {seconds} s"


def _saturated_text(pods: int) -> str:
    which = "a pod is" if pods == 1 else f"{pods} pods are"
    return f"{which} not ready while the version gets more requests than its pods can handle"


# --- answers ---------------------------------------------------------------------------------------------


def _errors(traffic: Traffic) -> Failure | None:
    """The failure for too many requests that the model failed. Too few requests prove nothing.

    Requests that a full queue turned away are on neither side of the ratio, because the model never got them.
    """
    if traffic.judged < ENOUGH_REQUESTS or traffic.failed / traffic.judged < ERROR_RATIO:
        return None
    share = 100 * traffic.failed / traffic.judged
    how = "were answered with 5xx"
    if traffic.broken_streams:
        how = f"{how} or failed in mid-stream" if traffic.errors else "failed in mid-stream"
    return failure(
        "ServerErrors",
        f"{traffic.failed} of {traffic.judged} requests since the version went live ({share:.0f} %) {how}",
    )


# --- the rest --------------------------------------------------------------------------------------------


def _is_overdue(known: PodState, now: datetime) -> bool:
    """Whether a trouble of side Configuration has lasted longer than its patience."""
    if known.trouble is None or known.trouble.side is Side.ENVIRONMENT or known.patience is None:
        return False
    return now >= known.since + known.patience


def _next_look(seen: _Seen, silent: Sequence[datetime]) -> datetime | None:
    moments = [since + READINESS_PATIENCE for since in silent]
    moments += [
        s.since + s.patience for _, s in seen.pods if s.patience is not None and s.trouble is not None
    ]
    moments += [s.look_at for _, s in seen.pods if s.look_at is not None]
    return min((m for m in moments if m > seen.now), default=None)
