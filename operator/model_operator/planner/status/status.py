"""The whole status of a ModelDeployment, built in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_operator.api import names
from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import rfc3339
from model_operator.domain.registry import ResolutionReason
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import RolloutState
from model_operator.domain.world import World
from model_operator.planner.annotations import read_handled
from model_operator.planner.decision import Decision
from model_operator.planner.state import to_status
from model_operator.planner.status.condition import merge
from model_operator.planner.status.conditions import conditions
from model_operator.planner.status.forecast import forecast


def report(world: World, decision: Decision) -> dict[str, Any]:
    """Returns the complete status. It equals the present one if nothing changed."""
    status: dict[str, Any] = {"observedGeneration": world.generation}
    previous = world.status.get("conditions")
    before = previous if isinstance(previous, list) else []
    remembered = to_status(decision.state, decision.desired.name if decision.desired else "")
    waits = world.resolution.reason is ResolutionReason.PENDING and not _spec_is_new(world)
    if before and waits and remembered.items() <= world.status.items():
        # an operator that has just started has no answer yet, and reporting that would write to every ModelDeployment
        status["conditions"] = before
    else:
        desired = list(conditions(world, decision))
        status["conditions"] = merge(before, desired, world.generation, world.now)
    if world.parsed_spec:
        status |= _of_the_spec(world, world.parsed_spec, decision)
    if resolved := _resolved(world):
        status["resolved"] = resolved
    status |= remembered
    if answered := read_handled(world) | dict(decision.answers):
        status["handledRequests"] = answered
    return status | _size(world, decision.state)


def _of_the_spec(world: World, spec: ModelDeploymentSpec, decision: Decision) -> dict[str, Any]:
    """The fields that need a readable spec."""
    reference = spec.model.reference()
    status: dict[str, Any] = {"modelName": reference.name, "alias": reference.display}
    if step := forecast(world, decision.state, _next(decision), decision.admission):
        status["plan"] = step
    if world.children.service is not None:
        suffix = "" if spec.service.port == 80 else f":{spec.service.port}"
        status["address"] = {"url": f"http://{world.name}.{world.namespace}.svc{suffix}"}
    return status


def _resolved(world: World) -> dict[str, Any]:
    previous = world.status.get("resolved")
    before = dict(previous) if isinstance(previous, Mapping) else {}
    version = world.resolution.version
    if version is None or not world.resolution.ok:
        return before
    found = {
        "model": version.model,
        "version": version.version,
        "alias": version.alias,
        "runId": version.run_id,
        "source": version.source,
    }
    found = {name: value for name, value in found.items() if value}
    at = before.pop("at", None)
    return {**found, "at": at if before == found and isinstance(at, str) else rfc3339(world.now)}


def _size(world: World, state: RolloutState) -> dict[str, Any]:
    track = state.serving.track if state.serving else world.name
    live = world.track(track).deployment
    selector = f"{names.LABEL_DEPLOYMENT}={world.name},{names.LABEL_TRACK}={track}"
    return {
        "replicas": live.current if live else 0,
        "readyReplicas": live.ready if live else 0,
        "selector": selector,
    }


def _next(decision: Decision) -> Revision | None:
    """The revision of the next rollout: the candidate, or the one that a gate keeps out."""
    if candidate := decision.state.candidate:
        return next((r for r in decision.revisions if r.name == candidate.revision), None)
    return decision.desired if decision.turned_away else None


def _spec_is_new(world: World) -> bool:
    return world.parsed_spec is None or world.status.get("observedGeneration") != world.generation
