"""The track of the serving revision and of a candidate, their sizes, and when the Service may move.

A track is a Deployment. A strategy replaces pods within the serving track, or starts the candidate on the other one,
and the Service moves when every pod is ready. Everything here follows from the live objects, so an operator that
restarts in the middle of a switch continues it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import Kind
from model_operator.domain.rollout import RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.manifests import initial_replicas, spare_name
from model_operator.planner.strategy.strategies import chosen_strategy


def other_track(world: World, track: str) -> str:
    """The other one of the two tracks."""
    second = f"{world.name}{names.SECOND_TRACK_SUFFIX}"
    return second if track == world.name else world.name


def deployment_name(world: World, track: str) -> str:
    """The name of a track's Deployment: that of the track, or another one if a ModelDeployment has taken that.

    ModelDeployments ``churn`` and ``churn-green`` both derive a Deployment ``churn-green``. A Deployment keeps its
    name for its whole life.
    """
    if (live := world.track(track).deployment) is not None:
        return live.name
    return spare_name(world.name, track) if world.ref(Kind.DEPLOYMENT, track) in world.taken else track


def preview_name(world: World) -> str:
    """The name of the Service for testing a candidate. It makes room for another ModelDeployment's Service."""
    name, live = world.name + names.PREVIEW_SUFFIX, world.children.preview
    if world.ref(Kind.SERVICE, name) in world.taken:
        return spare_name(world.name, name)
    return live.name if live is not None else name


def candidate_track(world: World, state: RolloutState) -> str:
    """The name of the track for a candidate that starts now."""
    if state.serving is None:
        # no serving revision could be disturbed, and a failed candidate is replaced on its track
        return state.candidate.track if state.candidate else world.name
    beside = other_track(world, state.serving.track)
    if not chosen_strategy(world.spec).beside:
        return state.serving.track
    if world.service_track == beside and world.track(beside).exists:
        # the Service still points at the other track, so the track of the serving revision gets no requests
        return state.serving.track
    return beside


def restored_track(world: World, state: RolloutState, revision: str) -> str:
    """The name of the track for a revert to ``revision``: the one that kept it warm, if there is one."""
    serving = state.serving
    if serving is None:
        return world.name
    beside = world.track(other_track(world, serving.track))
    if beside.revision == revision and beside.replicas:
        return beside.name
    return candidate_track(world, state)


# --- sizes -----------------------------------------------------------------------------------------


def desired_replicas(world: World, serving: Serving | None) -> int:
    """The number of pods that the serving track should have: ``spec.replicas``, or its present scale."""
    spec = world.spec
    if spec.replicas is not None:
        return spec.replicas
    # first the track whose size the others follow
    for name in (world.service_track, serving.track if serving else "", world.name):
        if (live := world.track(name)).exists:
            return live.replicas
    start = initial_replicas(spec)
    before = world.status.get("replicas")
    if spec.autoscaling is None or not isinstance(before, int):
        return start
    # a deleted Deployment is created again at the size that its autoscaler had reached
    return max(start, min(before, spec.autoscaling.max_replicas))


def idle_replicas(world: World, state: RolloutState, track: str) -> int:
    """The number of pods that a track keeps which neither serves nor runs a candidate.

    During the watch window it keeps its full size, for an immediate revert. Then ``warmReplicas`` stay until
    ``warmSeconds`` after the serving revision went live.
    """
    serving, spec = state.serving, world.spec
    if serving is None:
        return 0
    carried = world.track(track).revision
    kept = next((r for r in world.children.revisions if r.name == carried), None)
    if kept is None or state.rejection_of(carried) or kept.verdict is None:
        return 0
    if not serving.settled:  # also while another rollout interrupts the watch window
        return desired_replicas(world, serving)
    warm = world.now < warm_until(spec, serving)
    return min(spec.rollout.warm_replicas, desired_replicas(world, serving)) if warm else 0


def warm_until(spec: ModelDeploymentSpec, serving: Serving) -> datetime:
    """When the track of the previous revision may be scaled to 0."""
    return serving.since + timedelta(seconds=spec.rollout.warm_seconds)


# --- traffic ---------------------------------------------------------------------------------------


def traffic_track(world: World, state: RolloutState) -> str:
    """The track that the Service should select now. Empty while the Service must not exist yet.

    The Service moves to the serving revision's track when enough of its pods are ready, and stays until then.
    """
    serving, pointed = state.serving, world.track(world.service_track)
    if serving is None:
        if world.children.service is None and _is_hidden(world):
            return ""
        first = state.candidate.track if state.candidate else world.name
        # the serving revision may be unknown for a moment while its pods still answer
        return pointed.name if pointed.available and not world.track(first).available else first
    if not pointed.exists:
        return _best_track(world, state, serving)
    if pointed.name == serving.track:
        return serving.track
    target = world.track(serving.track)
    if target.revision != serving.revision:
        return pointed.name
    if target.complete and target.replicas >= min(desired_replicas(world, serving), pointed.replicas):
        return serving.track
    saved = target.available > 0 and pointed.available == 0
    return serving.track if saved else pointed.name


def _best_track(world: World, state: RolloutState, serving: Serving) -> str:
    """The track for a Service whose track is gone: one with available pods, even the track of the previous revision."""
    beside = world.track(other_track(world, serving.track))
    tried = state.candidate is not None and beside.revision == state.candidate.revision
    if tried or world.track(serving.track).available:
        return serving.track
    return beside.name if beside.available else serving.track


def _is_hidden(world: World) -> bool:
    """Whether a first version must not get requests before its approval."""
    approval = world.spec.gates.approval
    return approval.mode == "Manual" and approval.at == "BeforeTraffic"


def is_confirmed(world: World, track: str) -> bool:
    """Whether the Service selects ``track`` and all its ready endpoints are pods of that track.

    At least one endpoint must be ready, unless the track has 0 replicas.
    """
    if world.service_track != track:
        return False
    if world.track(track).replicas == 0:
        return True
    mine, targets = _pod_names(world, track), _ready_endpoints(world)
    return bool(targets) and all(name in mine for name in targets)


def is_still_reached(world: World, state: RolloutState, track: str) -> bool:
    """Whether requests still go to ``track`` for a moment: the Service is about to leave it, or has just left.

    False if the Service stays there because the serving track can't take over. Waiting for that could take forever.
    """
    if world.service_track == track:
        return traffic_track(world, state) != track
    mine = _pod_names(world, track)
    return any(name in mine for name in _ready_endpoints(world))


def _pod_names(world: World, track: str) -> set[str]:
    return {pod.name for pod in world.children.pods if pod.track == track and pod.name}


def _ready_endpoints(world: World) -> list[str]:
    """The names of the pods behind the Service's ready endpoints."""
    slices = [s for s in world.children.endpoint_slices if s.service == world.name]
    return [name for found in slices for name in found.ready]
