"""The conditions, for every situation.

They follow Kubernetes' conventions and kstatus: the healthy value is True, absent means not so. ``Ready`` speaks to
the author of a manifest, ``Current`` to the person who moved the alias. A rejected alias move beside a healthy
service leaves ``Ready=True``, so that it never blocks a GitOps sync. A bad commit always shows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from model_operator.api import names
from model_operator.domain.objects import applied_revision, rfc3339
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Phase, RolloutState, Serving
from model_operator.domain.world import RefusalKind, World
from model_operator.planner.decision import Decision, left_track
from model_operator.planner.gates import GateReport, GateResult, asks_anything
from model_operator.planner.manifests import extract_pod_spec, same_target
from model_operator.planner.status.blockers import (
    describe_lost_scripts,
    find_blocker,
    find_idle_blocker,
    find_serving_blocker,
)
from model_operator.planner.strategy.tracks import is_complete, replicas_of

MESSAGE_LIMIT = 1024
Status = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it should be now."""

    type: str
    status: Status
    reason: str
    message: str


def merge(
    previous: Iterable[object], desired: Sequence[Condition], generation: int, now: datetime
) -> list[dict[str, Any]]:
    """Returns ``desired`` as status conditions.

    ``lastTransitionTime`` is taken from ``previous`` where the status did not move, and is ``now`` otherwise.
    Conditions that are not wanted any more are left out.
    """
    known = {str(p.get("type")): p for p in previous if isinstance(p, Mapping)}
    merged = []
    for condition in desired:
        before = known.get(condition.type, {})
        same = before.get("status") == condition.status
        since = before.get("lastTransitionTime") if same else None
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "observedGeneration": generation,
                "lastTransitionTime": since if isinstance(since, str) else rfc3339(now),
                "reason": condition.reason if _REASON.fullmatch(condition.reason) else "Unknown",
                "message": condition.message[:MESSAGE_LIMIT],
            }
        )
    return merged


_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]{0,254}[A-Za-z0-9_])?")


def conditions(world: World, decision: Decision) -> Iterator[Condition]:
    """The conditions of that decision; of a spec that can't be read they say so and nothing else."""
    if world.parsed_spec is None:
        yield Condition("Ready", "False", "InvalidSpec", world.spec_error)
        yield Condition("Current", "Unknown", "InvalidSpec", world.spec_error)
        yield Condition("Stalled", "True", "InvalidSpec", world.spec_error)
        yield _resolution_condition(world)
        return
    ready, stalled = _ready(world, decision)
    yield ready
    yield _current(world, decision)
    moving = None if world.spec.suspend else _moving(world, decision)
    if moving and not stalled:
        yield Condition("Reconciling", "True", moving.reason, moving.message)
    if stalled:
        yield Condition("Stalled", "True", ready.reason, ready.message)
    yield _resolution_condition(world)
    admitted = admitted_condition(world, decision.state, decision.desired, decision.admission)
    if admitted and _waits_behind_a_commit(decision):
        yield Condition("Admitted", "False", "WaitingForApproval", _waits_for_a_person(decision))
    elif admitted:
        yield admitted


def _resolution_condition(world: World) -> Condition:
    resolution = world.resolution
    if resolution.ok and resolution.version:
        text = f"{resolution.version.alias} of {resolution.version.model} is version {resolution.version.version}"
        return Condition("Resolved", "True", "Resolved", text)
    status: Status = "False" if resolution.reason.definite else "Unknown"
    return Condition("Resolved", status, resolution.reason.value, resolution.message)


def _ready(world: World, decision: Decision) -> tuple[Condition, bool]:
    """The condition Ready, and whether only a person (or the outside world) can fix it."""
    if found := find_blocker(world, decision):
        return Condition("Ready", "False", found.reason, found.message), found.stalled
    if decision.state.serving is None:
        return _nothing_serves(world, decision)
    serving = decision.state.serving
    if blocker := find_serving_blocker(world, decision, serving):
        return Condition("Ready", "False", blocker.reason, blocker.message), blocker.stalled
    if _spec_is_in_force(world, decision):
        if replicas_of(world.deployment(serving.track)) == 0:
            text = f"version {serving.version} is in place and serves as soon as there are replicas: now 0"
            return Condition("Ready", "True", "ScaledToZero", text), False
        if warning := decision.trouble:
            text = f"version {serving.version} serves; {warning.message}"
            return Condition("Ready", "True", warning.reason, text), False
        if left := find_idle_blocker(world, decision, serving):
            return Condition("Ready", "True", left.reason, left.message), False
        if lost := describe_lost_scripts(world, decision, serving):
            return Condition("Ready", "True", "ScriptsMissing", lost), False
        return Condition("Ready", "True", "Serving", f"version {serving.version} serves"), False
    if (other := decision.interim) and not world.spec.suspend:
        return _commit_on_its_way(decision, serving, other)
    current = _current(world, decision)
    stalled = not _goes_on(world, decision) and not world.spec.suspend
    message = f"the spec is not in force: {current.message}; version {serving.version} serves on"
    return Condition("Ready", "False", current.reason, message), stalled


def _commit_on_its_way(decision: Decision, serving: Serving, interim: Revision) -> tuple[Condition, bool]:
    """Ready while a commit is brought into force with the version that serves, or could not be."""
    candidate, rejection = decision.state.candidate, decision.state.rejection_of(interim.name)
    text = f"the spec is not in force: version {interim.target.version} with the changed spec"
    if candidate and candidate.revision == interim.name:
        waits = candidate.phase is Phase.WITHDRAWN and candidate.retry_at is None
        text += f": {candidate.message or candidate.phase.value}; version {serving.version} serves on"
        return Condition("Ready", "False", candidate.reason or "RollingOut", text), waits
    if rejection:
        text += (
            f" was rejected ({rejection.reason}): {rejection.message}; version {serving.version} serves on"
        )
        return Condition("Ready", "False", "VersionRejected", text), rejection.retry_at is None
    return Condition("Ready", "False", "RollingOut", f"{text} comes next"), False


def _goes_on(world: World, decision: Decision) -> bool:
    """Whether the spec may yet come into force without anybody's help."""
    if not world.resolution.ok:
        return not world.resolution.reason.definite
    candidate = decision.state.candidate
    if decision.problem:
        return False
    if decision.admission and not decision.admission.admitted:
        return decision.admission.refusal is None
    if candidate is None:
        return False
    if candidate.phase is Phase.WITHDRAWN:
        return candidate.retry_at is not None
    return candidate.phase is not Phase.FAILED


def _nothing_serves(world: World, decision: Decision) -> tuple[Condition, bool]:
    candidate = decision.state.candidate
    resolution = world.resolution
    if candidate and candidate.phase is Phase.FAILED:
        text = (
            f"version {candidate.version} failed ({candidate.reason}) and there is no earlier version to go back to; "
            f"it is tried again when the alias, the version or the spec changes: {candidate.message}"
        )
        return Condition("Ready", "False", "FirstVersionFailed", text), True
    if decision.problem:
        return Condition("Ready", "False", decision.problem.reason, decision.problem.message), True
    if candidate:
        reason = candidate.reason or "RollingOut"
        stalled = bool(candidate.reason) and candidate.deadline is None and candidate.phase.in_flight
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Ready", "False", reason, text), stalled
    if (gate := decision.turned_away) and decision.desired:
        return _kept_out_condition("Ready", decision.desired, gate), not _goes_on(world, decision)
    if world.spec.suspend:
        return Condition("Ready", "False", "Suspended", "spec.suspend is true, and nothing serves yet"), False
    if not resolution.ok:
        stalled = resolution.reason.definite
        return Condition("Ready", "False", resolution.reason.value, resolution.message), stalled
    return Condition("Ready", "False", "RollingOut", "the first rollout begins"), False


def _current(world: World, decision: Decision) -> Condition:
    state, desired, candidate = decision.state, decision.desired, decision.state.candidate
    serving = state.serving
    if not world.resolution.ok and not decision.held:
        status = world.resolution.reason.definite
        return Condition(
            "Current",
            "False" if status else "Unknown",
            world.resolution.reason.value,
            world.resolution.message,
        )
    if decision.problem:
        return Condition("Current", "False", decision.problem.reason, decision.problem.message)
    if serving and decision.held and desired and desired.name == serving.revision:
        text = f"version {serving.version} is held by the annotation {names.REQUEST_REVERT}; remove it to follow again"
        return Condition("Current", "False", "RevisionHeld", text)
    if world.spec.suspend and not (desired and serving and desired.name == serving.revision):
        text = "spec.suspend is true: nothing is changed until it is false"
        return Condition("Current", "False", "Suspended", text)
    if desired and serving and desired.name == serving.revision:
        if left_track(world, serving):
            text = f"version {serving.version} is ready, and requests are about to move to it"
            return Condition("Current", "False", "Switching", text)
        if applied_revision(world.deployment(serving.track)) == serving.revision:
            return Condition("Current", "True", "Serving", f"version {serving.version} is wanted and serves")
        return Condition("Current", "False", "RollingOut", f"version {serving.version} is being put back")
    if desired and (gate := decision.turned_away):
        return _kept_out_condition("Current", desired, gate)
    if desired and (rejection := state.rejection_of(desired.name)):
        text = f"version {rejection.version} was rejected ({rejection.reason}): {rejection.message}"
        if rejection.retry_at:
            text += f"; tried again at {rfc3339(rejection.retry_at)}"
        return Condition("Current", "False", "VersionRejected" if serving else "FirstVersionFailed", text)
    if _waits_behind_a_commit(decision):
        return Condition("Current", "False", "WaitingForApproval", _waits_for_a_person(decision))
    if candidate:
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Current", "False", reason, text)
    return Condition("Current", "Unknown", "Pending", "nothing is decided yet")


def _waits_behind_a_commit(decision: Decision) -> bool:
    """Whether the desired version lacks only a person's approval, and a commit is brought in meanwhile."""
    desired = decision.desired
    if desired is None or decision.interim is None or decision.turned_away:
        return False
    return decision.state.rejection_of(desired.name) is None


def _waits_for_a_person(decision: Decision) -> str:
    version = decision.desired.target.version if decision.desired else ""
    return (
        f"version {version} waits until a person agrees; meanwhile the changed spec is brought into force with the "
        "version that serves"
    )


def _kept_out_condition(kind: str, desired: Revision, gate: GateResult) -> Condition:
    return Condition(
        kind,
        "False",
        gate.reason,
        f"version {desired.target.version} is kept out by gate {gate.gate}: {gate.message}",
    )


def _moving(world: World, decision: Decision) -> Condition | None:
    """Why the operator is still at work, None when it is at rest."""
    candidate = decision.state.candidate
    if candidate and candidate.phase is not Phase.WITHDRAWN and candidate.phase is not Phase.FAILED:
        reason = candidate.reason or "RollingOut"
        text = f"version {candidate.version}: {candidate.message or candidate.phase.value}"
        return Condition("Reconciling", "True", reason, text)
    waits = decision.admission.pending if decision.admission and not decision.admission.refusal else None
    if waits:
        return Condition("Reconciling", "True", waits.reason, waits.message)
    if candidate and candidate.phase is Phase.WITHDRAWN and candidate.retry_at:
        text = f"version {candidate.version} is tried again at {rfc3339(candidate.retry_at)}"
        return Condition("Reconciling", "True", "Withdrawn", text)
    if contested := [str(f.ref) for f in world.refused_writes if f.kind is RefusalKind.CONTESTED]:
        text = f"{', '.join(contested)}: somebody else keeps changing what is ours; repaired a few times a minute"
        return Condition("Reconciling", "True", "DriftContested", text)
    serving = decision.state.serving
    if serving and left_track(world, serving):
        text = f"requests are being moved to version {serving.version}"
        return Condition("Reconciling", "True", "Switching", text)
    deployment = world.deployment(serving.track) if serving else None
    if serving and (applied_revision(deployment) != serving.revision or not is_complete(deployment)):
        text = f"the pods are being brought to version {serving.version}"
        return Condition("Reconciling", "True", "Progressing", text)
    if not serving and not world.resolution.ok and not world.resolution.reason.definite:
        return Condition("Reconciling", "True", world.resolution.reason.value, world.resolution.message)
    if decision.ownership.going_away:
        return Condition("Reconciling", "True", "WaitingForDeletion", "an earlier ModelDeployment's children")
    return None


def _spec_is_in_force(world: World, decision: Decision) -> bool:
    """Whether the serving revision is what the spec asks for, a moving alias's version aside."""
    serving = decision.state.serving
    if serving is None:
        return False
    if decision.held and decision.desired is None:
        return True
    if decision.desired and decision.desired.name == serving.revision:
        return True
    reference = world.spec.model.reference()
    if serving.alias and serving.alias != reference.display:
        return False
    kept = next((r for r in decision.revisions if r.name == serving.revision), None)
    if kept is None:
        return True
    if kept.target.model != reference.name:
        return False
    if reference.version is not None and kept.target.version != reference.version:
        return False
    if world.resolution.ok and kept.target.registry_url != world.resolution.registry_url:
        return False
    return same_target(kept.target, replace(kept.target, pod_spec=extract_pod_spec(world.spec_raw)))


def admitted_condition(
    world: World, state: RolloutState, desired: Revision | None, admission: GateReport | None
) -> Condition | None:
    """The condition Admitted; None where the spec sets no gate."""
    gates, candidate = world.spec.gates, state.candidate
    if not (asks_anything(gates) or gates.approval.mode == "Manual"):
        return None
    if desired is None:
        return Condition("Admitted", "Unknown", "Pending", "it is not known yet which version is wanted")
    version = desired.target.version
    if admission and (refusal := admission.refusal):
        text = f"version {version}, gate {refusal.gate}: {refusal.message}"
        return Condition("Admitted", "False", refusal.reason, text)
    if admission and (pending := admission.pending):
        text = f"version {version}, gate {pending.gate}: {pending.message}"
        return Condition("Admitted", "Unknown", pending.reason, text)
    if candidate and candidate.revision == desired.name and candidate.reason == "WaitingForApproval":
        return Condition("Admitted", "False", candidate.reason, f"version {version}: {candidate.message}")
    return Condition("Admitted", "True", "Admitted", f"version {version} may start")
