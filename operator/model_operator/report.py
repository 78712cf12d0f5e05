"""The one place where the status of a ModelDeployment is written down, for every situation.

``Ready`` speaks to whoever committed the manifest, ``Current`` to whoever moved the alias: a rejected alias move
beside a healthy service leaves ``Ready=True``, so that it never blocks a GitOps sync; a bad commit always shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from model_operator.api import names
from model_operator.children import Ownership
from model_operator.conditions import Condition, Status, merge
from model_operator.health import Failure, Judgement
from model_operator.manifests import pod_shape, same_wish
from model_operator.memory import Memory, Phase, applied_revision, rfc3339, to_status
from model_operator.world import Announce, Fault, FaultKind, Kind, Object, ResolutionReason, Revision, World

REQUEST_LIMIT = 256
"""How much of a request's value is compared and answered; the CRD allows no more in the status."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the planner found out and decided, as far as the report needs it."""

    memory: Memory
    ownership: Ownership = field(default_factory=Ownership)
    judgement: Judgement | None = None
    wished: Revision | None = None
    """None while it is not known which revision is wanted."""
    problem: Failure | None = None
    revisions: Sequence[Revision] = ()
    retried: str = ""
    """The request to try again that this plan answers."""


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
        wanted = list(_conditions(world, situation))
        status["conditions"] = merge(before, wanted, world.generation, world.now)
    if world.spec is not None:
        reference = world.spec.model.reference()
        status["modelName"] = reference.name
        status["alias"] = reference.display
    if resolved := _resolved(world):
        status["resolved"] = resolved
    status |= remembered
    if handled := _handled(world) | ({"retry": situation.retried} if situation.retried else {}):
        status["handledRequests"] = handled
    status |= _size(world)
    if world.children.service is not None and world.spec is not None:
        port = world.spec.service.port
        suffix = "" if port == 80 else f":{port}"
        status["address"] = {"url": f"http://{world.name}.{world.namespace}.svc{suffix}"}
    return status


def troubles(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Announce]:
    """Events for conditions that went bad since the status ``before``, one per reason.

    What the planner tells itself (a revert, a first failure) is not told twice.
    """
    told = {"RollingOut", "WaitingForSlot", "Pending", "FirstVersionFailed"}
    if after.get("rejected") != before.get("rejected"):
        told.add("VersionRejected")
    contest, fought = _find(after, "Reconciling"), _find(before, "Reconciling")
    if contest.get("reason") == "DriftContested" != fought.get("reason"):
        yield Announce(True, "DriftContested", str(contest.get("message")))
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


def _size(world: World) -> dict[str, Any]:
    deployment = world.children.deployment
    counts = _mapping(deployment.get("status")) if deployment else {}
    selector = f"{names.LABEL_DEPLOYMENT}={world.name},{names.LABEL_TRACK}={world.name}"
    return {
        "replicas": counts.get("replicas", 0),
        "readyReplicas": counts.get("readyReplicas", 0),
        "selector": selector,
    }


# --- conditions ------------------------------------------------------------------------------------


def _conditions(world: World, situation: Situation) -> Iterator[Condition]:
    ready, stalled = _ready(world, situation)
    yield ready
    yield _current(world, situation)
    moving = _moving(world, situation)
    if moving and not stalled:
        yield Condition("Reconciling", "True", moving.reason, moving.message)
    if stalled:
        yield Condition("Stalled", "True", ready.reason, ready.message)
    yield _resolution_condition(world)


def _resolution_condition(world: World) -> Condition:
    resolution = world.resolution
    if resolution.ok and resolution.version:
        text = f"{resolution.version.alias} of {resolution.version.model} is version {resolution.version.version}"
        return Condition("Resolved", "True", "Resolved", text)
    status: Status = "False" if resolution.reason.definite else "Unknown"
    return Condition("Resolved", status, resolution.reason.value, resolution.message)


def _ready(world: World, situation: Situation) -> tuple[Condition, bool]:
    """The condition Ready, and whether only a person (or the outside world) can mend it."""
    if obstacle := _obstacle(world, situation):
        return Condition("Ready", "False", obstacle.reason, obstacle.message), obstacle.stalled
    if situation.memory.serving is None:
        return _nothing_serves(world, situation)
    serving = situation.memory.serving
    if not _available(world.children.deployment):
        text = f"version {serving.version} should serve, but none of its pods is available"
        return Condition("Ready", "False", "PodsUnavailable", text), False
    if _spec_is_in_force(world, situation):
        if scaled_to_zero(world):
            text = f"version {serving.version} is in place and serves as soon as there are replicas: now 0"
            return Condition("Ready", "True", "ScaledToZero", text), False
        return Condition("Ready", "True", "Serving", f"version {serving.version} serves"), False
    current = _current(world, situation)
    stalled = not _goes_on(world, situation)
    message = f"the spec is not in force: {current.message}; version {serving.version} serves on"
    return Condition("Ready", "False", current.reason, message), stalled


@dataclass(frozen=True, slots=True)
class _Obstacle:
    reason: str
    message: str
    stalled: bool = True


def _obstacle(world: World, situation: Situation) -> _Obstacle | None:
    """What stands in the way of everything else."""
    if world.spec is None:
        return _Obstacle("InvalidSpec", world.spec_error)
    if gone := situation.ownership.going_away:
        text = f"waiting for the garbage collector to remove {', '.join(gone)} of the ModelDeployment before"
        return _Obstacle("WaitingForDeletion", text, stalled=False)
    taken = [*situation.ownership.conflicts]
    taken += [f"{f.ref} ({f.message})" for f in world.faults if f.kind is FaultKind.NAME_TAKEN]
    if taken:
        text = (
            f"{', '.join(taken)} exists and is not ours; it stays untouched. Rename this ModelDeployment, or delete "
            "or rename that object"
        )
        return _Obstacle("NameConflict", text)
    for fault in world.faults:
        if _is_the_candidates(world, fault, situation.memory):
            continue
        if fault.kind is FaultKind.INVALID:
            return _Obstacle("FieldRefused", f"the API server refuses {fault.ref}: {fault.message}")
        if fault.kind is FaultKind.QUOTA:
            return _Obstacle("QuotaExceeded", f"{fault.ref} can't be written: {fault.message}")
        if fault.kind is FaultKind.FORBIDDEN:
            return _Obstacle("Refused", f"{fault.ref} can't be written: {fault.message}")
    return None


def _is_the_candidates(world: World, fault: Fault, memory: Memory) -> bool:
    """Whether it is a candidate's template that is refused: the planner deals with that, what serves is well."""
    if fault.ref.kind is not Kind.DEPLOYMENT:
        return False
    candidate = memory.candidate
    if fault.kind is not FaultKind.INVALID and memory.serving is None:
        return False
    if candidate and candidate.phase is Phase.FAILED:
        return candidate.reason == "FieldRefused"
    if candidate and candidate.phase.in_flight:
        return applied_revision(world.children.deployment) != candidate.revision
    newest = memory.rejected[0] if memory.rejected else None
    return newest is not None and newest.reason == "FieldRefused" and newest.at == world.now


def _goes_on(world: World, situation: Situation) -> bool:
    """Whether the spec may yet come into force without anybody's help."""
    if not world.resolution.ok:
        return not world.resolution.reason.definite
    candidate = situation.memory.candidate
    if situation.problem or candidate is None:
        return False
    if candidate.phase is Phase.WITHDRAWN:
        return candidate.retry_at is not None
    return candidate.phase is not Phase.FAILED


def _nothing_serves(world: World, situation: Situation) -> tuple[Condition, bool]:
    candidate = situation.memory.candidate
    resolution = world.resolution
    if candidate and candidate.phase is Phase.FAILED:
        text = (
            f"version {candidate.version} failed ({candidate.reason}) and there is no earlier version to go back to; "
            f"it is tried again when the alias, the version or the spec changes: {candidate.message}"
        )
        return Condition("Ready", "False", "FirstVersionFailed", text), True
    if situation.problem:
        return Condition("Ready", "False", situation.problem.reason, situation.problem.message), True
    if candidate:
        reason = candidate.reason or "RollingOut"
        stalled = bool(candidate.reason) and candidate.deadline is None and candidate.phase.in_flight
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Ready", "False", reason, text), stalled
    if not resolution.ok:
        stalled = resolution.reason.definite
        return Condition("Ready", "False", resolution.reason.value, resolution.message), stalled
    return Condition("Ready", "False", "RollingOut", "the first rollout begins"), False


def _current(world: World, situation: Situation) -> Condition:
    memory, wished, candidate = situation.memory, situation.wished, situation.memory.candidate
    serving = memory.serving
    if world.spec is None:
        return Condition("Current", "Unknown", "InvalidSpec", world.spec_error)
    if not world.resolution.ok:
        status = world.resolution.reason.definite
        return Condition(
            "Current",
            "False" if status else "Unknown",
            world.resolution.reason.value,
            world.resolution.message,
        )
    if situation.problem:
        return Condition("Current", "False", situation.problem.reason, situation.problem.message)
    if wished and serving and wished.name == serving.revision:
        if applied_revision(world.children.deployment) == serving.revision:
            return Condition("Current", "True", "Serving", f"version {serving.version} is wanted and serves")
        return Condition("Current", "False", "RollingOut", f"version {serving.version} is being put back")
    if wished and (rejection := memory.rejection_of(wished.name)):
        text = f"version {rejection.version} was rejected ({rejection.reason}): {rejection.message}"
        return Condition("Current", "False", "VersionRejected" if serving else "FirstVersionFailed", text)
    if candidate:
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Current", "False", reason, text)
    return Condition("Current", "Unknown", "Pending", "nothing is decided yet")


def _moving(world: World, situation: Situation) -> Condition | None:
    """Why the operator is still at work, None when it is at rest."""
    candidate = situation.memory.candidate
    if candidate and (candidate.phase.in_flight or candidate.phase is Phase.WAITING_FOR_SLOT):
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Reconciling", "True", reason, text)
    if candidate and candidate.phase is Phase.WITHDRAWN and candidate.retry_at:
        text = f"version {candidate.version} is tried again at {rfc3339(candidate.retry_at)}"
        return Condition("Reconciling", "True", "Withdrawn", text)
    if contested := [str(f.ref) for f in world.faults if f.kind is FaultKind.CONTESTED]:
        text = f"{', '.join(contested)}: somebody else keeps changing what is ours; repaired a few times a minute"
        return Condition("Reconciling", "True", "DriftContested", text)
    serving = situation.memory.serving
    deployment = world.children.deployment
    if serving and (applied_revision(deployment) != serving.revision or not _settled(deployment)):
        text = f"the pods are being brought to version {serving.version}"
        return Condition("Reconciling", "True", "Progressing", text)
    if not serving and not world.resolution.ok and not world.resolution.reason.definite:
        return Condition("Reconciling", "True", world.resolution.reason.value, world.resolution.message)
    if situation.ownership.going_away:
        return Condition("Reconciling", "True", "WaitingForDeletion", "an earlier ModelDeployment's children")
    return None


def retry_asked(world: World) -> str:
    """The value of a request to try again that was not answered yet; empty when there is none."""
    asked = world.annotations.get(names.REQUEST_RETRY, "")[:REQUEST_LIMIT]
    return "" if asked == _handled(world).get("retry") else asked


def _handled(world: World) -> dict[str, str]:
    """The requests that were answered, as the status has them."""
    handled = _mapping(world.status.get("handledRequests"))
    return {str(k): v for k, v in handled.items() if isinstance(v, str)}


def _spec_is_new(world: World) -> bool:
    return world.spec is None or world.status.get("observedGeneration") != world.generation


def _spec_is_in_force(world: World, situation: Situation) -> bool:
    """Whether the serving revision is what the spec asks for, a moving alias's version aside."""
    serving = situation.memory.serving
    if serving is None or world.spec is None:
        return False
    if situation.wished and situation.wished.name == serving.revision:
        return True
    reference = world.spec.model.reference()
    if serving.alias and serving.alias != reference.display:
        return False
    kept = next((r for r in situation.revisions if r.name == serving.revision), None)
    if kept is None:
        return True
    if kept.wish.model != reference.name:
        return False
    if reference.version is not None and kept.wish.version != reference.version:
        return False
    if world.resolution.ok and kept.wish.registry_url != world.resolution.registry_url:
        return False
    return same_wish(kept.wish, replace(kept.wish, shape=pod_shape(world.spec_raw)))


def scaled_to_zero(world: World) -> bool:
    """Whether there are to be no pods at all, so that nothing can be said of the version."""
    deployment = world.children.deployment
    return deployment is not None and _mapping(deployment.get("spec")).get("replicas") == 0


def _available(deployment: Object | None) -> bool:
    if deployment is None:
        return False
    if _mapping(deployment.get("spec")).get("replicas") == 0:
        return True
    return bool(_mapping(deployment.get("status")).get("availableReplicas", 0))


def _settled(deployment: Object | None) -> bool:
    if deployment is None:
        return False
    status = _mapping(deployment.get("status"))
    wanted = _mapping(deployment.get("spec")).get("replicas", 1)
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == wanted for count in counts)


def _find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
