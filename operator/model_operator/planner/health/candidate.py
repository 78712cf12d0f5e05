"""Judges a candidate by its Deployment and its pods.

A *definite* failure counts when it is first seen. A failure of the environment counts at the deadline of its phase,
since it may pass. A bare exit counts when it has happened twice, which is long before any deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import Deployment, Pod
from model_operator.domain.rollout import Phase
from model_operator.domain.world import Track
from model_operator.planner.health.pod_state import PodState, pod_state, time_limit
from model_operator.planner.health.reasons import Failure, failure, shorten, worst


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of one look at the candidate's pods.

    ``live`` and ``failure`` exclude each other. With neither, the rollout continues in ``phase``. ``hint`` is the
    reason of a problem that may still pass (``InsufficientCapacity``), and ``deadline`` is when it becomes a failure.
    """

    phase: Phase
    message: str = ""
    hint: str = ""
    live: bool = False
    failure: Failure | None = None
    deadline: datetime | None = None
    self_test: str = ""
    look_at: datetime | None = None
    """When to look again before the deadline, because time alone can change the hint."""


def judge_candidate_pods(revision: str, track: Track, limits: RolloutSpec, now: datetime) -> Judgement:
    """Judges the rollout of ``revision`` by the Deployment and the pods of its track.

    ``limits`` holds the seconds per pod and phase. Raises nothing: a missing part of an object counts as not there
    yet.
    """
    deployment = track.deployment
    if deployment is None or deployment.revision != revision or not deployment.observed:
        return Judgement(Phase.APPLYING, "waiting for the Deployment to pick up the new pod template")
    if deployment.complete:
        return Judgement(Phase.ROLLING, live=True, self_test=self_test_outcome(revision, track.pods))
    mine = [pod for pod in track.pods if pod.revision == revision]
    found = [s for pod in mine if (s := pod_state(pod, now))]
    states = [s for s in found if not s.gone]
    # an evicted pod is reported for a while, but must not delay the verdict on the pods that replace it
    displaced = [s for s in found if s.gone and now < s.deadline(limits)]
    if sick := worst([s.failure for s in (*states, *displaced)]):
        return Judgement(Phase.FAILED, sick.message, failure=sick)
    if all(s.ready for s in states):
        return _without_unready_pods(deployment, states, displaced, limits, now)
    return _with_unready_pods(deployment, states, displaced, limits, now)


def self_test_outcome(revision: str, pods: Sequence[Pod]) -> str:
    """The result of the revision's self-test: ``Passed``, ``NoExample``, or empty if no ready pod shows it.

    The port opens only after a passed test, so a ready pod proves it. The termination message of its init container
    records whether the model has an input example.
    """
    for pod in pods:
        if pod.revision == revision and pod.is_ready and pod.fetch.end:
            example = pod.fetch.end.input_example
            if example is not None:
                return "Passed" if example else "NoExample"
    return ""


def find_refusal(deployment: Deployment) -> tuple[Failure, datetime | None] | None:
    """Why the API server refuses the Deployment's new pods, and since when. None if it does not refuse them."""
    refused = deployment.refused_pods
    if not refused.is_true:
        return None
    quota = "exceeded quota" in refused.message
    what = "the API server refuses the new pods"
    if quota:
        what += ", because the namespace's quota is used up"
    return failure("QuotaExceeded" if quota else "PodsRefused", f"{what}: {refused.message}"), refused.since


_ORDER = {Phase.SCHEDULING: 0, Phase.FETCHING: 1, Phase.STARTING: 2}
_PROGRESS = {
    Phase.SCHEDULING: "waiting for a node",
    Phase.FETCHING: "fetching the model",
    Phase.STARTING: "loading and self-testing the model",
}


def _describe_missed(phase: Phase, limits: RolloutSpec) -> Failure:
    seconds = int(time_limit(phase, limits).total_seconds())
    if phase is Phase.SCHEDULING:
        return failure("SchedulingDeadline", f"the pod was not scheduled within {seconds} s")
    if phase is Phase.FETCHING:
        return failure("FetchDeadline", f"the model was not fetched within {seconds} s")
    return failure("StartupDeadline", f"the server was not ready within {seconds} s of its start")


def _with_unready_pods(
    deployment: Deployment,
    states: Sequence[PodState],
    displaced: Sequence[PodState],
    limits: RolloutSpec,
    now: datetime,
) -> Judgement:
    """Judges by all deadlines, since any pod may miss its own first. The slowest pod sets the phase."""
    unready = sorted((s for s in states if not s.ready), key=lambda s: (_ORDER[s.phase], s.since))
    slowest = unready[0]
    deadline = min(s.deadline(limits) for s in unready)
    late = [
        s.trouble or s.missed or _describe_missed(s.phase, limits)
        for s in unready
        if now >= s.deadline(limits)
    ]
    if sick := worst(late):
        return Judgement(slowest.phase, sick.message, failure=sick, deadline=deadline)
    ready = len(states) - len(unready)
    trouble = slowest.trouble
    message = trouble.message if trouble else slowest.waits_for or _PROGRESS[slowest.phase]
    if trouble is None and displaced and (trouble := displaced[0].trouble):
        message = f"{message}. Before that, {trouble.message}"
    return Judgement(
        Phase.ROLLING if ready else slowest.phase,
        shorten(f"{_replicas_text(deployment, ready)}; {message}" if ready else message),
        hint=trouble.reason if trouble else "",
        deadline=deadline,
        look_at=min((s.look_at for s in unready if s.look_at), default=None),
    )


def _without_unready_pods(
    deployment: Deployment,
    states: Sequence[PodState],
    displaced: Sequence[PodState],
    limits: RolloutSpec,
    now: datetime,
) -> Judgement:
    """Judges the Deployment, since all existing pods are ready or none exists: it may be unable to create more."""
    if refused := find_refusal(deployment):
        why, since = refused
        deadline = (since or now) + time_limit(Phase.SCHEDULING, limits)
        if now >= deadline:
            return Judgement(Phase.SCHEDULING, why.message, failure=why, deadline=deadline)
        return Judgement(Phase.SCHEDULING, why.message, hint=why.reason, deadline=deadline)
    if deployment.paused:
        words = "the Deployment is paused. Resume it with kubectl rollout resume"
        return Judgement(Phase.SCHEDULING, words, hint="DeploymentPaused")
    if states:
        return Judgement(Phase.ROLLING, _replicas_text(deployment, len(states)))
    if displaced and (trouble := displaced[0].trouble):
        # no deadline here: the sum of all phase limits ends a rollout whose pods are evicted again and again
        return Judgement(Phase.SCHEDULING, trouble.message, hint=trouble.reason)
    return Judgement(Phase.SCHEDULING, "waiting for the first pod")


def _replicas_text(deployment: Deployment, ready: int) -> str:
    return f"{ready} of {deployment.replicas} replicas are ready on the new version"
