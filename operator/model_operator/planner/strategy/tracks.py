"""Which track serves, which one a candidate takes, how big each has to be, and when traffic may move.

A track is a Deployment. A strategy replaces pods within the track that serves, or brings the candidate up on the
other one, and the Service moves when every pod is ready. Everything here follows from what is live, so an operator
that starts in the middle of a switch goes on with it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.rollout import RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.manifests import initial_replicas
from model_operator.planner.strategy.strategies import chosen_strategy


def other_track(world: World, track: str) -> str:
    """The track beside ``track``; there are two."""
    second = f"{world.name}{names.SECOND_TRACK_SUFFIX}"
    return second if track == world.name else world.name


def candidate_track(world: World, state: RolloutState) -> str:
    """Where a candidate that starts now comes up."""
    if state.serving is None:
        # nothing serves that it could disturb; what failed there before is replaced
        return state.candidate.track if state.candidate else world.name
    beside = other_track(world, state.serving.track)
    if not chosen_strategy(world.spec).beside:
        return state.serving.track
    if world.service_track == beside and world.track(beside).exists:
        # requests have not come back from there yet, so the track that should serve is the one without any
        return state.serving.track
    return beside


def restored_track(world: World, state: RolloutState, revision: str) -> str:
    """Where a revision that served before comes back: on the track that kept it warm, if there is one."""
    serving = state.serving
    if serving is None:
        return world.name
    beside = world.track(other_track(world, serving.track))
    if beside.revision == revision and beside.replicas:
        return beside.name
    return candidate_track(world, state)


# --- sizes -----------------------------------------------------------------------------------------


def desired_replicas(world: World, serving: Serving | None) -> int:
    """How many pods the track that serves should have: as the spec says, or as it was scaled."""
    spec = world.spec
    if spec.replicas is not None:
        return spec.replicas
    # the track whose size others follow first
    for name in (world.service_track, serving.track if serving else "", world.name):
        if (live := world.track(name)).exists:
            return live.replicas
    start = initial_replicas(spec)
    before = world.status.get("replicas")
    if spec.autoscaling is None or not isinstance(before, int):
        return start
    # a Deployment that was deleted comes back at the size that its autoscaler had reached
    return max(start, min(before, spec.autoscaling.max_replicas))


def idle_replicas(world: World, state: RolloutState, track: str) -> int:
    """How many pods a track keeps that neither serves nor carries a candidate.

    While the watch window lasts it could take over at once; then ``warmReplicas`` stay until ``warmSeconds`` are over.
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
    """When the track that served before may go to nothing."""
    return serving.since + timedelta(seconds=spec.rollout.warm_seconds)


# --- traffic ---------------------------------------------------------------------------------------


def traffic_track(world: World, state: RolloutState) -> str:
    """The track that the Service should send requests to now; empty while it must not exist yet.

    It follows the serving revision as soon as that can carry the load, and stays where it is until then.
    """
    serving, pointed = state.serving, world.track(world.service_track)
    if serving is None:
        if world.children.service is None and _is_hidden(world):
            return ""
        first = state.candidate.track if state.candidate else world.name
        # what serves may be unknown for a moment, and answer all the same
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
    """Where requests go that go nowhere now: to pods that may have them, though they be those of the track before."""
    beside = world.track(other_track(world, serving.track))
    tried = state.candidate is not None and beside.revision == state.candidate.revision
    if tried or world.track(serving.track).available:
        return serving.track
    return beside.name if beside.available else serving.track


def _is_hidden(world: World) -> bool:
    """Whether a first version must not take requests before a person agrees."""
    approval = world.spec.gates.approval
    return approval.mode == "Manual" and approval.at == "BeforeTraffic"


def is_confirmed(world: World, track: str) -> bool:
    """Whether requests really go to ``track``: the endpoints of the Service say so, and no others are ready."""
    if world.service_track != track:
        return False
    if world.track(track).replicas == 0:
        return True
    mine, targets = _pod_names(world, track), _ready_endpoints(world)
    return bool(targets) and all(name in mine for name in targets)


def is_still_reached(world: World, state: RolloutState, track: str) -> bool:
    """Whether requests go to ``track`` for a moment yet: the Service is about to leave it, or has just left.

    False where the Service stays because the serving track can't take over: whoever waited for that might wait
    for ever.
    """
    if world.service_track == track:
        return traffic_track(world, state) != track
    mine = _pod_names(world, track)
    return any(name in mine for name in _ready_endpoints(world))


def _pod_names(world: World, track: str) -> set[str]:
    return {pod.name for pod in world.children.pods if pod.track == track and pod.name}


def _ready_endpoints(world: World) -> list[str]:
    """The names of the pods to which the Service's endpoints send requests."""
    slices = [s for s in world.children.endpoint_slices if s.service == world.name]
    return [name for found in slices for name in found.ready]
