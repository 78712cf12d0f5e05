"""The state of one pod: its phase, since when, and its problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model_operator.api.names import CONTAINER_FETCH
from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import Container, Pod
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health.container_exits import bare_exits, exit_failure, last_end
from model_operator.planner.health.disruptions import displacement
from model_operator.planner.health.reasons import Failure, failure
from model_operator.planner.health.scheduling import describe_unschedulable

CONFIG_GRACE = timedelta(seconds=60)
"""A GitOps sync may create a Secret or ConfigMap a little after the ModelDeployment that uses it."""

_IMAGE_WAITS = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})
_IMAGE_FINAL = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_IMAGE_MISSING_SIGNS = ("not found", "manifest unknown", "does not exist", "name unknown")
_CONFIG_WAITS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


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
        return PodState(Phase.SCHEDULING, moved.since or created, trouble=moved.trouble, gone=moved.gone)
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
        return ready if after is None else _container_state(pod, pod.server, ready, after)
    initialized = pod.condition("Initialized")
    if not initialized.is_true:
        return _container_state(pod, pod.fetch, PodState(Phase.FETCHING, since), after)
    since = initialized.since or since
    # a pod that was ready before gets the full time again, because it has proved that it can start
    since = max(since, pod.condition("Ready").since or since)
    return _container_state(pod, pod.server, PodState(Phase.STARTING, since), after)


def _container_state(pod: Pod, container: Container, known: PodState, after: datetime | None) -> PodState:
    """``known`` with the failure or trouble in the container's status."""
    reason, said, name = container.waiting_for, container.waiting_message, container.name
    if reason in _IMAGE_FINAL or (
        reason in _IMAGE_WAITS and any(sign in said.lower() for sign in _IMAGE_MISSING_SIGNS)
    ):
        why = f"the image {container.image} is not available: {said or reason}"
        return replace(known, failure=failure("ImageMissing", why))
    if reason in _IMAGE_WAITS:
        why = f"the image {container.image} can't be pulled: {said or reason}"
        return replace(known, trouble=failure("ImageUnreachable", why))
    if reason in _CONFIG_WAITS:
        missing = failure("ContainerConfigError", f"the {name} container can't be created: {said or reason}")
        return replace(known, trouble=missing, patience=CONFIG_GRACE)
    ended = last_end(container, after)
    if ended is None:
        return known
    ours = name == CONTAINER_FETCH or pod.runs_our_script
    sick = exit_failure(name, ended, bare_exits(pod, container, after), ours=ours)
    if sick and sick.side is Side.ENVIRONMENT:
        return replace(known, trouble=sick)
    return replace(known, failure=sick)
