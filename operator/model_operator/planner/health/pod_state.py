"""The state of one pod: its phase, since when, and its problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import Container, Pod
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health.container_problems import container_problem
from model_operator.planner.health.container_reports import AT_ONCE
from model_operator.planner.health.disruptions import displacement
from model_operator.planner.health.obstacles import Obstacle, init_obstacle, sandbox_obstacle, start_obstacle
from model_operator.planner.health.reasons import Failure, failure
from model_operator.planner.health.scheduling import describe_unschedulable


@dataclass(frozen=True, slots=True)
class PodState:
    """The phase of a pod, since when, and its problem."""

    phase: Phase
    since: datetime
    ready: bool = False
    failure: Failure | None = None
    trouble: Failure | None = None
    """A problem that becomes a failure at the deadline of the phase."""
    patience: timedelta | None = None
    """How long the trouble may last, if that is less than the limit of the phase."""
    missed: Failure | None = None
    """The failure if the deadline passes without a trouble, if that is another than the missed deadline itself."""
    waits_for: str = ""
    """The obstacle in the way, in words, while it is no trouble yet."""
    look_at: datetime | None = None
    """When the obstacle becomes a trouble, if time alone decides that."""
    gone: bool = False
    """Whether the pod was evicted or lost with its node. Another pod replaces it."""

    def deadline(self, limits: RolloutSpec) -> datetime:
        """When this pod must have left its phase."""
        limit = time_limit(self.phase, limits)
        return self.since + (limit if self.patience is None else min(limit, self.patience))


def time_limit(phase: Phase, limits: RolloutSpec) -> timedelta:
    """How long one pod may stay in that phase: Scheduling, Fetching or Starting."""
    seconds = {
        Phase.SCHEDULING: limits.scheduling_seconds,
        Phase.FETCHING: limits.fetch_seconds,
        Phase.STARTING: limits.startup_seconds,
    }
    return timedelta(seconds=seconds[phase])


def pod_state(pod: Pod, now: datetime, after: datetime | None = None) -> PodState | None:
    """The state of a pod, or None if the pod is being deleted on purpose.

    With ``after``, only later exits count, and they count even while the pod is ready.
    """
    created = pod.created or now
    if moved := displacement(pod):
        known = PodState(Phase.SCHEDULING, moved.since or created, gone=moved.gone)
        # each new pod is refused in the same way, so the refusal counts although its pod has ended
        if moved.trouble.side is Side.CONFIGURATION:
            known = replace(known, failure=moved.trouble)
        return replace(known, trouble=moved.trouble)
    if pod.leaving:
        return None
    scheduled = pod.condition("PodScheduled")
    if not scheduled.is_true:
        trouble = None
        if scheduled.reason == "Unschedulable":
            trouble = failure("InsufficientCapacity", describe_unschedulable(pod, scheduled.message))
        return PodState(Phase.SCHEDULING, created, trouble=trouble)
    since = scheduled.since or created
    if pod.is_ready:
        ready = PodState(Phase.STARTING, since, ready=True)
        return ready if after is None else _with_problem(ready, pod, pod.server, after)
    initialized = pod.condition("Initialized")
    if not initialized.is_true:
        known = _with_problem(PodState(Phase.FETCHING, since), pod, pod.fetch, after)
        obstacle = sandbox_obstacle(pod, now - since) or init_obstacle(pod)
    else:
        since = initialized.since or since
        # a pod that was ready before gets the full time again, because it has proved that it can start
        since = max(since, pod.condition("Ready").since or since)
        known = _with_problem(PodState(Phase.STARTING, since), pod, pod.server, after)
        obstacle = start_obstacle(pod)
    if known.failure or known.trouble or obstacle is None:
        return known
    return _with_obstacle(known, obstacle, now)


def _with_problem(known: PodState, pod: Pod, container: Container, after: datetime | None) -> PodState:
    """``known`` with the failure or trouble in the container's status."""
    problem = container_problem(pod, container, after)
    if problem is None:
        return known
    if problem.lasts == AT_ONCE:
        return replace(known, failure=problem.failure)
    return replace(known, trouble=problem.failure, patience=problem.lasts)


def _with_obstacle(known: PodState, obstacle: Obstacle, now: datetime) -> PodState:
    if obstacle.evident:
        return replace(known, trouble=obstacle.failure, patience=obstacle.lasts)
    look_at = None if obstacle.evident_in is None else now + obstacle.evident_in
    return replace(
        known, missed=obstacle.failure, waits_for=obstacle.text, patience=obstacle.lasts, look_at=look_at
    )
