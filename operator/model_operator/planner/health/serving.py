"""The verdict on a revision that serves, while it is still watched: what may be held against it, and what not.

A rollout only shows that a version can start. Leaks, native crashes, slow deaths and errors in its answers show
under real requests, so for ``rollout.watchSeconds`` they are still the version's. What the surroundings do
(nodes, quotas, too many requests) is reported and never held against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_operator.domain.objects import (
    SERVER,
    Object,
    applied_revision,
    changed_at,
    condition,
    container,
    count,
    mapping,
    metadata,
    read_time,
    revision_of,
    spec,
    state,
    status,
)
from model_operator.domain.revision import Side
from model_operator.domain.world import Traffic
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
class _Seen:
    """The revision's pods, each with its state."""

    pods: Sequence[tuple[Object, PodState]]
    since: datetime
    now: datetime


def judge_serving_pods(
    revision: str,
    deployment: Object | None,
    pods: Sequence[Object],
    autoscaler: Object | None,
    traffic: Traffic,
    since: datetime,
    now: datetime,
) -> ServingJudgement:
    """Judges ``revision``, which went live at ``since``, by its Deployment, its pods and what they answered.

    ``autoscaler`` is the HorizontalPodAutoscaler, if there is one; ``traffic`` is counted since ``since``. Other
    revisions' pods may be among ``pods``. Raises nothing, whatever the objects lack.
    """
    if deployment is None or applied_revision(deployment) != revision or _wants_none(deployment):
        return ServingJudgement()
    states = [(pod, s) for pod in pods if revision_of(pod) == revision and (s := pod_state(pod, now, since))]
    seen = _Seen([(pod, s) for pod, s in states if not s.gone], since, now)
    overdue = [s.trouble for _, s in seen.pods if _is_overdue(s, now)]
    silent = _silent_pods(seen)
    lasting = sum(now >= moment + READINESS_PATIENCE for moment in silent)
    lost = failure("ReadinessLost", _lost_text(lasting)) if lasting else None
    saturated = (
        lost
        and _is_saturated(deployment, autoscaler, traffic)
        and not any(_exits(pod, since) for pod, _ in seen.pods)
    )
    found = worst(
        [
            *(s.failure for _, s in seen.pods),
            *overdue,
            _crashes(seen),
            None if saturated else lost,
            _errors(traffic),
        ]
    )
    if found:
        return ServingJudgement(failure=found)
    troubles = [s.trouble for _, s in states if not s.gone or _is_short(deployment)]
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
    ends = [end for pod in pods if (end := last_end(container(pod, SERVER), seen.since))]
    return failure(
        "CrashLoop",
        f"the server containers of {len(ends)} pods ended {exits} times since the version went live, one of them "
        f"{how(ends[-1])}",
    )


def _exits(pod: Object, since: datetime) -> int:
    """How often the server ended in the watch window, whatever for."""
    server = container(pod, SERVER)
    return bare_exits(pod, server, since) if last_end(server, since) else 0


# --- pods that fall silent -----------------------------------------------------------------------------


def _silent_pods(seen: _Seen) -> list[datetime]:
    """Since when pods that had been ready are not, though their server was not started anew."""
    found = []
    for pod, known in seen.pods:
        server = container(pod, SERVER)
        started = read_time(state(server, "running").get("startedAt"))
        readiness = condition(pod, "Ready")
        since = changed_at(readiness)
        if known.ready or started is None or since is None or readiness.get("status") != "False":
            continue
        # of a pod that never was ready the condition is older than its server; times are whole seconds
        if server.get("ready") is False and started < since and since >= seen.since:
            found.append(since)
    return found


def _lost_text(pods: int) -> str:
    which = "a pod" if pods == 1 else f"{pods} pods"
    seconds = int(READINESS_PATIENCE.total_seconds())
    return f"{which} that had served did not answer the readiness probe for {seconds} s"


def _saturated_text(pods: int) -> str:
    which = "a pod is" if pods == 1 else f"{pods} pods are"
    return f"{which} not ready while the version has more requests than its pods can work on"


def _is_saturated(deployment: Object, autoscaler: Object | None, traffic: Traffic) -> bool:
    """Whether there are more requests than pods for them, so that slow probes prove nothing."""
    if traffic.saturated:
        return True
    if autoscaler is None:
        return False
    target = mapping(spec(autoscaler).get("scaleTargetRef")).get("name")
    name = metadata(deployment).get("name")
    if target and name and target != name:
        return False
    limited = condition(autoscaler, "ScalingLimited")
    most = count(spec(autoscaler).get("maxReplicas"))
    return (
        limited.get("status") == "True"
        and limited.get("reason") == "TooManyReplicas"
        and count(status(autoscaler).get("currentReplicas")) >= most > 0
    )


# --- answers ---------------------------------------------------------------------------------------------


def _errors(traffic: Traffic) -> Failure | None:
    """Too many answers of 500 or more; too few requests tell nothing."""
    if traffic.requests < ENOUGH_REQUESTS or traffic.errors / traffic.requests < ERROR_RATIO:
        return None
    share = 100 * traffic.errors / traffic.requests
    return failure(
        "ServerErrors",
        f"{traffic.errors} of {traffic.requests} requests since the version went live ({share:.0f} %) were answered "
        "with a server's error (5xx)",
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


def _wants_none(deployment: Object) -> bool:
    desired = spec(deployment).get("replicas", 1)
    return isinstance(desired, int) and desired == 0


def _is_short(deployment: Object) -> bool:
    """Whether there are fewer available pods than there should be."""
    desired = count(spec(deployment).get("replicas", 1))
    return count(status(deployment).get("availableReplicas")) < desired
