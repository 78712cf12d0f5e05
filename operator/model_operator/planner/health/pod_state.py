"""One pod: how far it came, since when, and what troubles it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model_operator.api.spec import RolloutSpec
from model_operator.domain.objects import (
    FETCH,
    SERVER,
    Object,
    changed_at,
    condition,
    container,
    created_at,
    metadata,
    runs_our_script,
    state,
    text,
)
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Phase
from model_operator.planner.health.container_exits import bare_exits, exit_failure, last_end
from model_operator.planner.health.disruptions import displacement
from model_operator.planner.health.reasons import Failure, failure
from model_operator.planner.health.scheduling import what_did_not_fit

CONFIG_GRACE = timedelta(seconds=60)
"""A Secret or ConfigMap of the same GitOps sync may arrive a little after the ModelDeployment."""

_IMAGE_WAITS = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"})
_IMAGE_FINAL = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_IMAGE_MISSING_SIGNS = ("not found", "manifest unknown", "does not exist", "name unknown")
_CONFIG_WAITS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, slots=True)
class PodState:
    """How far a pod came, since when, and what troubles it."""

    phase: Phase
    since: datetime
    ready: bool = False
    failure: Failure | None = None
    trouble: Failure | None = None
    """A failure once the phase's deadline has passed."""
    patience: timedelta | None = None
    """How long the trouble may last, where that is less than the phase's limit."""
    gone: bool = False
    """Whether it is over without its own fault; another pod takes its place."""

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


def pod_state(pod: Object, now: datetime, after: datetime | None = None) -> PodState | None:
    """The state of a pod; None for one that is being deleted as it should be.

    With ``after``, only what ended later is held against it, also while it is ready.
    """
    created = created_at(pod) or now
    if moved := displacement(pod):
        return PodState(Phase.SCHEDULING, moved.since or created, trouble=moved.trouble, gone=moved.gone)
    if metadata(pod).get("deletionTimestamp"):
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        trouble = None
        if scheduled.get("reason") == "Unschedulable":
            trouble = failure("InsufficientCapacity", what_did_not_fit(pod, text(scheduled.get("message"))))
        return PodState(Phase.SCHEDULING, created, trouble=trouble)
    since = changed_at(scheduled) or created
    readiness = condition(pod, "Ready")
    if readiness.get("status") == "True":
        ready = PodState(Phase.STARTING, since, ready=True)
        return ready if after is None else _container_state(pod, SERVER, ready, after)
    initialized = condition(pod, "Initialized")
    if initialized.get("status") != "True":
        return _container_state(pod, FETCH, PodState(Phase.FETCHING, since), after)
    since = changed_at(initialized) or since
    # a pod that was ready and no longer is has its time again: it did start
    since = max(since, changed_at(readiness) or since)
    return _container_state(pod, SERVER, PodState(Phase.STARTING, since), after)


def _container_state(pod: Object, name: str, known: PodState, after: datetime | None) -> PodState:
    """Adds to ``known`` what the container's status tells."""
    found = container(pod, name)
    waiting = state(found, "waiting")
    reason, said = text(waiting.get("reason")), text(waiting.get("message"))
    image = text(found.get("image"))
    if reason in _IMAGE_FINAL or (
        reason in _IMAGE_WAITS and any(sign in said.lower() for sign in _IMAGE_MISSING_SIGNS)
    ):
        why = f"the image {image} can't be had: {said or reason}"
        return replace(known, failure=failure("ImageMissing", why))
    if reason in _IMAGE_WAITS:
        why = f"the image {image} can't be pulled: {said or reason}"
        return replace(known, trouble=failure("ImageUnreachable", why))
    if reason in _CONFIG_WAITS:
        missing = failure("ContainerConfigError", f"the {name} container can't be made: {said or reason}")
        return replace(known, trouble=missing, patience=CONFIG_GRACE)
    ended = last_end(found, after)
    if not ended:
        return known
    ours = name == FETCH or runs_our_script(pod)
    sick = exit_failure(name, ended, bare_exits(pod, found, after), ours=ours)
    if sick and sick.side is Side.ENVIRONMENT:
        return replace(known, trouble=sick)
    return replace(known, failure=sick)
