"""The whole status of a ModelDeployment, written down in one place; and what of it is worth an event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from model_operator.api import names
from model_operator.domain.rollout import Memory, rfc3339, to_status
from model_operator.domain.world import Announce, ResolutionReason, Revision, World
from model_operator.planner.annotations import handled
from model_operator.planner.status.condition import merge
from model_operator.planner.status.conditions import conditions
from model_operator.planner.status.forecast import step_ahead
from model_operator.planner.status.situation import Situation


def report(world: World, situation: Situation) -> dict[str, Any]:
    """Returns the complete status; equal to the present one when nothing changed."""
    status: dict[str, Any] = {"observedGeneration": world.generation}
    previous = world.status.get("conditions")
    before = previous if isinstance(previous, list) else []
    remembered = to_status(situation.memory, situation.wished.name if situation.wished else "")
    waits = world.resolution.reason is ResolutionReason.PENDING and not _spec_is_new(world)
    if before and waits and remembered.items() <= world.status.items():
        # an operator that has just started does not know yet; saying so would be a write for each ModelDeployment
        status["conditions"] = before
    else:
        wanted = list(conditions(world, situation))
        status["conditions"] = merge(before, wanted, world.generation, world.now)
    if world.spec is not None:
        reference = world.spec.model.reference()
        status["modelName"] = reference.name
        status["alias"] = reference.display
    if resolved := _resolved(world):
        status["resolved"] = resolved
    status |= remembered
    if answered := handled(world) | dict(situation.answers):
        status["handledRequests"] = answered
    if step := step_ahead(world, situation.memory, _next(situation), situation.admission):
        status["plan"] = step
    status |= _size(world, situation.memory)
    if world.children.service is not None and world.spec is not None:
        port = world.spec.service.port
        suffix = "" if port == 80 else f":{port}"
        status["address"] = {"url": f"http://{world.name}.{world.namespace}.svc{suffix}"}
    return status


def troubles(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Announce]:
    """Events for conditions that went bad since the status ``before``, one per reason.

    What the planner tells itself (a revert, a first failure) is not told twice.
    """
    told = {
        "RollingOut",
        "WaitingForSlot",
        "Switching",
        "WaitingForApproval",
        "Pending",
        "FirstVersionFailed",
        "Suspended",
        "GatesPending",
    }
    told |= {"RevisionHeld", str(_mapping(after.get("serving")).get("reason"))}
    if after.get("rejected") != before.get("rejected"):
        told.add("VersionRejected")
    contest, fought = _find(after, "Reconciling"), _find(before, "Reconciling")
    if contest.get("reason") == "DriftContested" != fought.get("reason"):
        yield Announce(True, "DriftContested", str(contest.get("message")))
    ready, was = _find(after, "Ready"), _find(before, "Ready")
    if ready.get("status") == "True" and ready.get("reason") not in (
        was.get("reason"),
        "Serving",
        "ScaledToZero",
    ):
        yield Announce(True, str(ready.get("reason")), str(ready.get("message")))
    for kind in ("Resolved", "Stalled", "Current"):
        now, then = _find(after, kind), _find(before, kind)
        bad = now.get("status") == "True" if kind == "Stalled" else now.get("status") != "True"
        reason = str(now.get("reason"))
        if kind == "Current" and reason == "VersionRejected" and then.get("status") == "Unknown":
            continue  # it was told before the registry was away
        if now and bad and reason != then.get("reason") and reason not in told:
            told.add(reason)
            yield Announce(True, reason, str(now.get("message")))


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


def _size(world: World, memory: Memory) -> dict[str, Any]:
    track = memory.serving.track if memory.serving else world.name
    deployment = world.deployment(track)
    counts = _mapping(deployment.get("status")) if deployment else {}
    selector = f"{names.LABEL_DEPLOYMENT}={world.name},{names.LABEL_TRACK}={track}"
    return {
        "replicas": counts.get("replicas", 0),
        "readyReplicas": counts.get("readyReplicas", 0),
        "selector": selector,
    }


def _next(situation: Situation) -> Revision | None:
    """The revision that the next step is about: the candidate's, or the one that the gates keep out."""
    if candidate := situation.memory.candidate:
        return next((r for r in situation.revisions if r.name == candidate.revision), None)
    return situation.wished if situation.turned_away else None


def _spec_is_new(world: World) -> bool:
    return world.spec is None or world.status.get("observedGeneration") != world.generation


def _find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
