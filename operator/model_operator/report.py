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
from model_operator.gates import GateReport, GateResult
from model_operator.health import Failure, Judgement, judge
from model_operator.manifests import pod_shape, same_wish
from model_operator.memory import Memory, Phase, Serving, applied_revision, rfc3339, selected_track, to_status
from model_operator.rendering import scripts_are_lost
from model_operator.requests import handled
from model_operator.step import admitted_condition, step_ahead
from model_operator.tracks import available_replicas, complete, pods_of, replicas_of
from model_operator.world import Announce, Fault, FaultKind, Kind, ResolutionReason, Revision, World


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
    answers: Mapping[str, str] = field(default_factory=dict)
    """The requests that this plan answers."""
    held: bool = False
    """Whether a person holds a revision."""
    trouble: Failure | None = None
    """What is wrong with what serves and not held against it."""
    admission: GateReport | None = None
    """What the gates said of the revision that is wanted; None when there was nothing to ask."""
    stand_in: Revision | None = None
    """What brings a commit into force while the wanted revision may not start; None while that is not needed."""

    @property
    def turned_away(self) -> GateResult | None:
        """The gate that keeps the wanted revision from starting."""
        return (self.admission.refusal or self.admission.pending) if self.admission else None


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


# --- conditions ------------------------------------------------------------------------------------


def _conditions(world: World, situation: Situation) -> Iterator[Condition]:
    ready, stalled = _ready(world, situation)
    yield ready
    yield _current(world, situation)
    moving = None if _suspended(world) else _moving(world, situation)
    if moving and not stalled:
        yield Condition("Reconciling", "True", moving.reason, moving.message)
    if stalled:
        yield Condition("Stalled", "True", ready.reason, ready.message)
    yield _resolution_condition(world)
    admitted = admitted_condition(world, situation.memory, situation.wished, situation.admission)
    if admitted and _waits_behind_a_commit(situation):
        yield Condition("Admitted", "False", "WaitingForApproval", _waits_for_a_person(situation))
    elif admitted:
        yield admitted


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
    if trouble := _serving_trouble(world, situation, serving):
        return Condition("Ready", "False", trouble.reason, trouble.message), trouble.stalled
    if _spec_is_in_force(world, situation):
        if replicas_of(world.deployment(serving.track)) == 0:
            text = f"version {serving.version} is in place and serves as soon as there are replicas: now 0"
            return Condition("Ready", "True", "ScaledToZero", text), False
        if warning := situation.trouble:
            text = f"version {serving.version} serves; {warning.message}"
            return Condition("Ready", "True", warning.reason, text), False
        if lost := _lost_scripts(world, situation, serving):
            return Condition("Ready", "True", "ScriptsMissing", lost), False
        return Condition("Ready", "True", "Serving", f"version {serving.version} serves"), False
    if (other := situation.stand_in) and not _suspended(world):
        return _commit_on_its_way(situation, serving, other)
    current = _current(world, situation)
    stalled = not _goes_on(world, situation) and not _suspended(world)
    message = f"the spec is not in force: {current.message}; version {serving.version} serves on"
    return Condition("Ready", "False", current.reason, message), stalled


def _commit_on_its_way(situation: Situation, serving: Serving, stand_in: Revision) -> tuple[Condition, bool]:
    """Ready while a commit is brought into force with the version that serves, or could not be."""
    candidate, rejection = situation.memory.candidate, situation.memory.rejection_of(stand_in.name)
    text = f"the spec is not in force: version {stand_in.wish.version} with the changed spec"
    if candidate and candidate.revision == stand_in.name:
        waits = candidate.phase is Phase.WITHDRAWN and candidate.retry_at is None
        text += f": {candidate.message or candidate.phase.value}; version {serving.version} serves on"
        return Condition("Ready", "False", candidate.reason or "RollingOut", text), waits
    if rejection:
        text += (
            f" was rejected ({rejection.reason}): {rejection.message}; version {serving.version} serves on"
        )
        return Condition("Ready", "False", "VersionRejected", text), rejection.retry_at is None
    return Condition("Ready", "False", "RollingOut", f"{text} comes next"), False


def _lost_scripts(world: World, situation: Situation, serving: Serving) -> str:
    """What is to be said of a serving revision whose new pods could not start; empty when they could."""
    kept = next((r for r in situation.revisions if r.name == serving.revision), None)
    if kept is None or not scripts_are_lost(world, kept):
        return ""
    return (
        f"version {serving.version} serves, but new pods of it could not start: the ConfigMap {kept.config_map} with "
        "the scripts of an earlier build of the operator was deleted and can't be made again; have the pods "
        f"rendered by the present build with a new value of the annotation {names.REQUEST_RESTART}"
    )


def _serving_trouble(world: World, situation: Situation, serving: Serving) -> _Obstacle | None:
    """What keeps the serving revision from doing its work."""
    live = world.deployment(serving.track)
    left = applied_revision(world.deployment(_left_track(world, serving) or " "))
    if situation.memory.rejection_of(left) and not _suspended(world):
        if replicas_of(live) and not available_replicas(live):
            blocked = _nothing_available(world, situation, serving)
            if blocked.stalled:
                return blocked
        text = f"requests go back to version {serving.version} as soon as its pods are ready"
        return _Obstacle("Switching", text, stalled=False)
    if replicas_of(live) and not available_replicas(live):
        return _nothing_available(world, situation, serving)
    if live is None:
        text = f"version {serving.version} should serve, but its Deployment is missing"
        return _Obstacle("PodsUnavailable", text, stalled=False)
    if serving.reason:
        text = f"version {serving.version} serves and fails its watch: {serving.message}"
        return _Obstacle(serving.reason, text)
    return None


def _left_track(world: World, serving: Serving) -> str:
    """The track that requests still go to though another one serves from now on; empty when there is none."""
    pointed = selected_track(world.children.service)
    return pointed if pointed != serving.track and world.deployment(pointed or " ") is not None else ""


def _nothing_available(world: World, situation: Situation, serving: Serving) -> _Obstacle:
    """A revert target that can't start is not reverted further: a person has to help, and pods keep trying."""
    text = f"version {serving.version} should serve, but none of its pods is available"
    if world.spec is None:
        return _Obstacle("PodsUnavailable", text, stalled=False)
    pods, live = pods_of(world, serving.track), world.deployment(serving.track)
    found = judge(serving.revision, live, pods, world.spec.rollout, world.now)
    text += f": {found.message}" if found.message and (found.failure or found.hint) else ""
    rejected = situation.memory.rejected
    if rejected and found.failure and (rejected[0].at >= serving.since or not serving.settled):
        text += "; it is what was gone back to, so there is no further way back"
        return _Obstacle("RevertBlocked", text)
    return _Obstacle("PodsUnavailable", text, stalled=False)


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
    if memory.serving and fault.ref.name != memory.serving.track:
        return True
    if fault.kind is not FaultKind.INVALID and memory.serving is None:
        return False
    if candidate and candidate.phase is Phase.FAILED:
        return candidate.reason == "FieldRefused"
    if candidate and candidate.phase.in_flight:
        return applied_revision(world.deployment(candidate.track)) != candidate.revision
    newest = memory.rejected[0] if memory.rejected else None
    return newest is not None and newest.reason == "FieldRefused" and newest.at == world.now


def _goes_on(world: World, situation: Situation) -> bool:
    """Whether the spec may yet come into force without anybody's help."""
    if not world.resolution.ok:
        return not world.resolution.reason.definite
    candidate = situation.memory.candidate
    if situation.problem:
        return False
    if situation.admission and not situation.admission.admitted:
        return situation.admission.refusal is None
    if candidate is None:
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
    if (gate := situation.turned_away) and situation.wished:
        return _kept_out("Ready", situation.wished, gate), not _goes_on(world, situation)
    if _suspended(world):
        return Condition("Ready", "False", "Suspended", "spec.suspend is true, and nothing serves yet"), False
    if not resolution.ok:
        stalled = resolution.reason.definite
        return Condition("Ready", "False", resolution.reason.value, resolution.message), stalled
    return Condition("Ready", "False", "RollingOut", "the first rollout begins"), False


def _current(world: World, situation: Situation) -> Condition:
    memory, wished, candidate = situation.memory, situation.wished, situation.memory.candidate
    serving = memory.serving
    if world.spec is None:
        return Condition("Current", "Unknown", "InvalidSpec", world.spec_error)
    if not world.resolution.ok and not situation.held:
        status = world.resolution.reason.definite
        return Condition(
            "Current",
            "False" if status else "Unknown",
            world.resolution.reason.value,
            world.resolution.message,
        )
    if situation.problem:
        return Condition("Current", "False", situation.problem.reason, situation.problem.message)
    if serving and situation.held and wished and wished.name == serving.revision:
        text = f"version {serving.version} is held by the annotation {names.REQUEST_REVERT}; remove it to follow again"
        return Condition("Current", "False", "RevisionHeld", text)
    if _suspended(world) and not (wished and serving and wished.name == serving.revision):
        text = "spec.suspend is true: nothing is changed until it is false"
        return Condition("Current", "False", "Suspended", text)
    if wished and serving and wished.name == serving.revision:
        if _left_track(world, serving):
            text = f"version {serving.version} is ready, and requests are about to move to it"
            return Condition("Current", "False", "Switching", text)
        if applied_revision(world.deployment(serving.track)) == serving.revision:
            return Condition("Current", "True", "Serving", f"version {serving.version} is wanted and serves")
        return Condition("Current", "False", "RollingOut", f"version {serving.version} is being put back")
    if wished and (gate := situation.turned_away):
        return _kept_out("Current", wished, gate)
    if wished and (rejection := memory.rejection_of(wished.name)):
        text = f"version {rejection.version} was rejected ({rejection.reason}): {rejection.message}"
        if rejection.retry_at:
            text += f"; tried again at {rfc3339(rejection.retry_at)}"
        return Condition("Current", "False", "VersionRejected" if serving else "FirstVersionFailed", text)
    if _waits_behind_a_commit(situation):
        return Condition("Current", "False", "WaitingForApproval", _waits_for_a_person(situation))
    if candidate:
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Current", "False", reason, text)
    return Condition("Current", "Unknown", "Pending", "nothing is decided yet")


def _waits_behind_a_commit(situation: Situation) -> bool:
    """Whether the wanted version lacks only a person's approval, and a commit is brought in meanwhile."""
    wished = situation.wished
    if wished is None or situation.stand_in is None or situation.turned_away:
        return False
    return situation.memory.rejection_of(wished.name) is None


def _waits_for_a_person(situation: Situation) -> str:
    version = situation.wished.wish.version if situation.wished else ""
    return (
        f"version {version} waits until a person agrees; meanwhile the changed spec is brought into force with the "
        "version that serves"
    )


def _kept_out(kind: str, wished: Revision, gate: GateResult) -> Condition:
    return Condition(
        kind,
        "False",
        gate.reason,
        f"version {wished.wish.version} is kept out by gate {gate.gate}: {gate.message}",
    )


def _next(situation: Situation) -> Revision | None:
    """The revision that the next step is about: the candidate's, or the one that the gates keep out."""
    if candidate := situation.memory.candidate:
        return next((r for r in situation.revisions if r.name == candidate.revision), None)
    return situation.wished if situation.turned_away else None


def _moving(world: World, situation: Situation) -> Condition | None:
    """Why the operator is still at work, None when it is at rest."""
    candidate = situation.memory.candidate
    if candidate and candidate.phase is not Phase.WITHDRAWN and candidate.phase is not Phase.FAILED:
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Reconciling", "True", reason, text)
    waits = situation.admission.pending if situation.admission and not situation.admission.refusal else None
    if waits:
        return Condition("Reconciling", "True", waits.reason, waits.message)
    if candidate and candidate.phase is Phase.WITHDRAWN and candidate.retry_at:
        text = f"version {candidate.version} is tried again at {rfc3339(candidate.retry_at)}"
        return Condition("Reconciling", "True", "Withdrawn", text)
    if contested := [str(f.ref) for f in world.faults if f.kind is FaultKind.CONTESTED]:
        text = f"{', '.join(contested)}: somebody else keeps changing what is ours; repaired a few times a minute"
        return Condition("Reconciling", "True", "DriftContested", text)
    serving = situation.memory.serving
    if serving and _left_track(world, serving):
        text = f"requests are being moved to version {serving.version}"
        return Condition("Reconciling", "True", "Switching", text)
    deployment = world.deployment(serving.track) if serving else None
    if serving and (applied_revision(deployment) != serving.revision or not complete(deployment)):
        text = f"the pods are being brought to version {serving.version}"
        return Condition("Reconciling", "True", "Progressing", text)
    if not serving and not world.resolution.ok and not world.resolution.reason.definite:
        return Condition("Reconciling", "True", world.resolution.reason.value, world.resolution.message)
    if situation.ownership.going_away:
        return Condition("Reconciling", "True", "WaitingForDeletion", "an earlier ModelDeployment's children")
    return None


def _suspended(world: World) -> bool:
    return world.spec is not None and world.spec.suspend


def _spec_is_new(world: World) -> bool:
    return world.spec is None or world.status.get("observedGeneration") != world.generation


def _spec_is_in_force(world: World, situation: Situation) -> bool:
    """Whether the serving revision is what the spec asks for, a moving alias's version aside."""
    serving = situation.memory.serving
    if serving is None or world.spec is None:
        return False
    if situation.held and situation.wished is None:
        return True
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


def _find(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions")
    for condition in conditions if isinstance(conditions, list) else []:
        if isinstance(condition, Mapping) and condition.get("type") == kind:
            return condition
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
