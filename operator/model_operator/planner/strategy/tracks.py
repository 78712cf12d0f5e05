"""Which track serves, which one a candidate takes, how big each has to be, and when traffic may move.

A track is a Deployment. A strategy replaces pods within the track that serves, or brings the candidate up on the
other one, and the Service moves when every pod is ready. Everything here follows from what is live, so an operator
that starts in the middle of a switch goes on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import Object, applied_revision, selected_track
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
    if selected_track(world.children.service) == beside and world.deployment(beside) is not None:
        # requests have not come back from there yet, so the track that should serve is the one without any
        return state.serving.track
    return beside


def restored_track(world: World, state: RolloutState, revision: str) -> str:
    """Where a revision that served before comes back: on the track that kept it warm, if there is one."""
    serving = state.serving
    if serving is None:
        return world.name
    beside = other_track(world, serving.track)
    if applied_revision(world.deployment(beside)) == revision and replicas_of(world.deployment(beside)):
        return beside
    return candidate_track(world, state)


# --- sizes -----------------------------------------------------------------------------------------


def desired_replicas(world: World, serving: Serving | None) -> int:
    """How many pods the track that serves should have: as the spec says, or as it was scaled."""
    spec = world.spec
    if spec.replicas is not None:
        return spec.replicas
    live = [world.deployment(track) for track in _in_use(world, serving)]
    reached = [replicas_of(d) for d in live if d is not None]
    if reached:
        return reached[0]
    start = initial_replicas(spec)
    before = world.status.get("replicas")
    if spec.autoscaling is None or not isinstance(before, int):
        return start
    # a Deployment that was deleted comes back at the size that its autoscaler had reached
    return max(start, min(before, spec.autoscaling.max_replicas))


def _in_use(world: World, serving: Serving | None) -> tuple[str, ...]:
    """The track whose size others follow first."""
    pointed = selected_track(world.children.service)
    found = (pointed, serving.track if serving else "", world.name)
    return tuple(track for track in found if track and world.deployment(track) is not None)


def idle_replicas(world: World, state: RolloutState, track: str) -> int:
    """How many pods a track keeps that neither serves nor carries a candidate.

    While the watch window lasts it could take over at once; then ``warmReplicas`` stay until ``warmSeconds`` are over.
    """
    serving, spec = state.serving, world.spec
    if serving is None:
        return 0
    carried = applied_revision(world.deployment(track))
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


def replicas_of(deployment: Object | None) -> int:
    """``spec.replicas`` of a live Deployment; 0 when there is none."""
    if deployment is None:
        return 0
    value = _mapping(deployment.get("spec")).get("replicas", 1)
    return value if isinstance(value, int) else 0


def available_replicas(deployment: Object | None) -> int:
    """How many of its pods are available."""
    value = _mapping((deployment or {}).get("status")).get("availableReplicas", 0)
    return value if isinstance(value, int) else 0


def is_complete(deployment: Object | None) -> bool:
    """Kubernetes' own test of a finished rollout: all updated and available, and nothing old left."""
    if deployment is None:
        return False
    status, metadata = _mapping(deployment.get("status")), _mapping(deployment.get("metadata"))
    seen, generation = status.get("observedGeneration", 0), metadata.get("generation", 0)
    if not (isinstance(seen, int) and isinstance(generation, int) and seen >= generation):
        return False
    desired = _mapping(deployment.get("spec")).get("replicas", 1)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == desired for count in counts)


# --- traffic ---------------------------------------------------------------------------------------


def traffic_track(world: World, state: RolloutState) -> str:
    """The track that the Service should send requests to now; empty while it must not exist yet.

    It follows the serving revision as soon as that can carry the load, and stays where it is until then.
    """
    serving, pointed = state.serving, selected_track(world.children.service)
    if serving is None:
        if world.children.service is None and _is_hidden(world):
            return ""
        first = state.candidate.track if state.candidate else world.name
        # what serves may be unknown for a moment, and answer all the same
        answers = pointed and available_replicas(world.deployment(pointed))
        return pointed if answers and not available_replicas(world.deployment(first)) else first
    if not pointed or world.deployment(pointed) is None:
        return _best_track(world, state, serving)
    if pointed == serving.track:
        return serving.track
    target = world.deployment(serving.track)
    if applied_revision(target) != serving.revision:
        return pointed
    if is_complete(target) and replicas_of(target) >= min(
        desired_replicas(world, serving), replicas_of(world.deployment(pointed))
    ):
        return serving.track
    saved = available_replicas(target) > 0 and available_replicas(world.deployment(pointed)) == 0
    return serving.track if saved else pointed


def _best_track(world: World, state: RolloutState, serving: Serving) -> str:
    """Where requests go that go nowhere now: to pods that may have them, though they be those of the track before."""
    beside = other_track(world, serving.track)
    tried = (
        state.candidate is not None and applied_revision(world.deployment(beside)) == state.candidate.revision
    )
    if tried or available_replicas(world.deployment(serving.track)):
        return serving.track
    return beside if available_replicas(world.deployment(beside)) else serving.track


def _is_hidden(world: World) -> bool:
    """Whether a first version must not take requests before a person agrees."""
    approval = world.spec.gates.approval
    return approval.mode == "Manual" and approval.at == "BeforeTraffic"


def is_confirmed(world: World, track: str) -> bool:
    """Whether requests really go to ``track``: the endpoints of the Service say so, and no others are ready."""
    service = world.children.service
    if selected_track(service) != track:
        return False
    if replicas_of(world.deployment(track)) == 0:
        return True
    mine, targets = _pod_names(world, track), _ready_endpoints(world)
    return bool(targets) and all(name in mine for name in targets)


def is_still_reached(world: World, state: RolloutState, track: str) -> bool:
    """Whether requests go to ``track`` for a moment yet: the Service is about to leave it, or has just left.

    False where the Service stays because the serving track can't take over: whoever waited for that might wait
    for ever.
    """
    if selected_track(world.children.service) == track:
        return traffic_track(world, state) != track
    mine = _pod_names(world, track)
    return any(name in mine for name in _ready_endpoints(world))


def _pod_names(world: World, track: str) -> set[str]:
    return {name for pod in world.children.pods if (name := _name_on(pod, track))}


def _ready_endpoints(world: World) -> list[str]:
    """The names of the pods to which the Service's endpoints send requests."""
    return [
        str(_mapping(endpoint.get("targetRef")).get("name", ""))
        for part in world.children.endpoint_slices
        if _labels(part).get("kubernetes.io/service-name") == world.name
        for endpoint in _mappings(part.get("endpoints"))
        if _mapping(endpoint.get("conditions")).get("ready") is not False
    ]


def pods_of(world: World, track: str) -> tuple[Object, ...]:
    """The pods of one track. A pod that does not say whose it is belongs to the first."""
    return tuple(
        pod for pod in world.children.pods if (_labels(pod).get(names.LABEL_TRACK) or world.name) == track
    )


def _name_on(pod: Object, track: str) -> str:
    return (
        str(_mapping(pod.get("metadata")).get("name", ""))
        if _labels(pod).get(names.LABEL_TRACK) == track
        else ""
    )


def _labels(obj: Object) -> Mapping[str, Any]:
    return _mapping(_mapping(obj.get("metadata")).get("labels"))


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
