"""The verdict on a revision that serves, while it is still watched: what may be held against it, and what not.

A rollout only shows that a version can start. Leaks, native crashes, slow deaths and errors in its answers show
under real requests, so for ``rollout.watchSeconds`` they are still the version's. What the surroundings do
(nodes, quotas, too many requests) is reported and never held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.domain.objects import Autoscaler, Deployment, Pod
from model_operator.domain.revision import Side
from model_operator.domain.world import Track, Traffic
from model_operator.planner.health.candidate import find_refusal
from model_operator.planner.health.container_exits import bare_exits, how, last_end
from model_operator.planner.health.pod_state import PodState, pod_state
from model_operator.planner.health.reasons import Failure, failure, worst

BARE_EXITS_OF_ALL_PODS = 3
"""Two exits of one pod are judged as in a rollout; over all pods three, since one bad request may be sent again
to a second pod by its caller and end that one too."""
READINESS_PATIENCE = timedelta(seconds=30)
"""The probe has failed three times in 15 s by then; as long again rides out a burst or a long collection of
garbage, and a revert still begins within a minute of the first failed probe."""
ENOUGH_REQUESTS = 20
"""With fewer, two unlucky requests would make a ratio of a tenth."""
ERROR_RATIO = 0.10
"""Far above what a healthy service shows, low enough for a model that fails on one kind of input."""


@dataclass(frozen=True, slots=True)
class ServingJudgement:
    """What is wrong with a revision that serves; both None when all is well."""

    failure: Failure | None = None
    """What is held against the revision."""
    trouble: Failure | None = None
    """What is only worth telling."""
    look_at: datetime | None = None
    """When to look again, because something that is wrong now becomes a failure if it lasts until then."""


@dataclass(frozen=True, slots=True)
class Load:
    """The requests that the pods get, and the autoscaler that adds pods for them."""

    traffic: Traffic
    """Counted since the revision went live."""
    autoscaler: Autoscaler | None = None

    def saturates(self, deployment: Deployment) -> bool:
        """Whether there are more requests than pods for them, so that slow probes prove nothing."""
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
    """Judges ``revision``, which went live at ``since``, by its track and by what its pods answered.

    Other revisions' pods may be on the track. Raises nothing, whatever the objects lack.
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


# --- pods that end -----------------------------------------------------------------------------------


def _crashes(seen: _Seen) -> Failure | None:
    """A crash loop that is spread over the pods, none of which has anything worse than a single bare exit."""
    pods = [pod for pod, known in seen.pods if known.failure is None]
    exits = sum(_exits(pod, seen.since) for pod in pods)
    if exits < BARE_EXITS_OF_ALL_PODS:
        return None
    ends = [end for pod in pods if (end := last_end(pod.server, seen.since))]
    return failure(
        "CrashLoop",
        f"the server containers of {len(ends)} pods exited {exits} times since the version went live, one of them "
        f"{how(ends[-1])}",
    )


def _exits(pod: Pod, since: datetime) -> int:
    """How often the server ended in the watch window, whatever for."""
    return bare_exits(pod, pod.server, since) if last_end(pod.server, since) else 0


def _any_exits(seen: _Seen) -> bool:
    return any(_exits(pod, seen.since) for pod, _ in seen.pods)


# --- pods that fall silent -----------------------------------------------------------------------------


def _silent_pods(seen: _Seen) -> list[datetime]:
    """Since when pods that had been ready are not, though their server was not started anew."""
    found = []
    for pod, known in seen.pods:
        started, readiness = pod.server.running_since, pod.condition("Ready")
        since = readiness.since
        if known.ready or started is None or since is None or not readiness.is_false:
            continue
        # of a pod that never was ready the condition is older than its server; times are whole seconds
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
    """Too many answers of 500 or more; too few requests tell nothing."""
    if traffic.requests < ENOUGH_REQUESTS or traffic.errors / traffic.requests < ERROR_RATIO:
        return None
    share = 100 * traffic.errors / traffic.requests
    return failure(
        "ServerErrors",
        f"{traffic.errors} of {traffic.requests} requests since the version went live ({share:.0f} %) were answered "
        "with 5xx",
    )


# --- the rest --------------------------------------------------------------------------------------------


def _is_overdue(known: PodState, now: datetime) -> bool:
    """Whether a trouble of the manifest's making, which might have passed, did not."""
    if known.trouble is None or known.trouble.side is Side.ENVIRONMENT or known.patience is None:
        return False
    return now >= known.since + known.patience


def _next_look(seen: _Seen, silent: Sequence[datetime]) -> datetime | None:
    moments = [since + READINESS_PATIENCE for since in silent]
    moments += [
        s.since + s.patience for _, s in seen.pods if s.patience is not None and s.trouble is not None
    ]
    return min((m for m in moments if m > seen.now), default=None)
