"""Whether the spec has been rolled out and is serving: the condition Ready, as ordered rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Phase, Serving
from model_operator.domain.world import World
from model_operator.planner.decision import Decision
from model_operator.planner.health import find_idle_autoscaler
from model_operator.planner.manifests import extract_pod_spec, same_target
from model_operator.planner.status.blockers import (
    Blocker,
    describe_lost_scripts,
    find_blocker,
    find_idle_blocker,
    find_serving_blocker,
)
from model_operator.planner.status.condition import Condition
from model_operator.planner.status.current import current, describe_kept_out


@dataclass(frozen=True, slots=True)
class Readiness:
    """The condition Ready, and whether it stays False until somebody acts."""

    ready: bool
    reason: str
    message: str
    stalled: bool = False
    """Whether only a person, or a change outside the operator, can end it."""

    def condition(self) -> Condition:
        """The condition in the status."""
        return Condition("Ready", "True" if self.ready else "False", self.reason, self.message)


def readiness(world: World, decision: Decision) -> Readiness:
    """Whether the spec has been rolled out and is serving."""
    if blocker := find_blocker(world, decision):
        return _blocked(blocker)
    serving = decision.state.serving
    if serving is None:
        return _first(_NOTHING_SERVES, world, decision)
    if blocker := find_serving_blocker(world, decision, serving):
        return _blocked(blocker)
    if _is_rolled_out(world, decision, serving):
        return _rolled_out(world, decision, serving)
    return _not_rolled_out(world, decision, serving)


def _blocked(blocker: Blocker) -> Readiness:
    return Readiness(False, blocker.reason, blocker.message, blocker.stalled)


Rule = Callable[[World, Decision], Readiness | None]


def _first(rules: Sequence[Rule], world: World, decision: Decision) -> Readiness:
    return next(found for rule in rules if (found := rule(world, decision)))


# --- no version is serving yet --------------------------------------------------------------------------------


def _first_version_failed(world: World, decision: Decision) -> Readiness | None:
    candidate = decision.state.candidate
    if candidate is None or candidate.phase is not Phase.FAILED:
        return None
    text = (
        f"version {candidate.version} failed ({candidate.reason}), and there is no earlier version to revert to. "
        f"It is tried again when the alias, the version or the spec changes: {candidate.message}"
    )
    return Readiness(False, "FirstVersionFailed", text, stalled=True)


def _can_not_start(world: World, decision: Decision) -> Readiness | None:
    problem = decision.problem
    return Readiness(False, problem.reason, problem.message, stalled=True) if problem else None


def _under_way(world: World, decision: Decision) -> Readiness | None:
    candidate = decision.state.candidate
    if candidate is None:
        return None
    stalled = bool(candidate.reason) and candidate.deadline is None and candidate.phase.in_flight
    return Readiness(False, candidate.reason or "RollingOut", candidate.progress, stalled)


def _gates_keep_it_out(world: World, decision: Decision) -> Readiness | None:
    gate = decision.turned_away
    if gate is None or decision.desired is None:
        return None
    return Readiness(False, gate.reason, describe_kept_out(decision), not _goes_on(world, decision))


def _suspended(world: World, decision: Decision) -> Readiness | None:
    text = "spec.suspend is true, and no version is serving yet"
    return Readiness(False, "Suspended", text) if world.spec.suspend else None


def _unresolved(world: World, decision: Decision) -> Readiness | None:
    resolution = world.resolution
    if resolution.ok:
        return None
    return Readiness(False, resolution.reason.value, resolution.message, resolution.reason.definite)


def _begins(world: World, decision: Decision) -> Readiness:
    return Readiness(False, "RollingOut", "the first rollout begins")


_NOTHING_SERVES: Sequence[Rule] = (
    _first_version_failed,
    _can_not_start,
    _under_way,
    _gates_keep_it_out,
    _suspended,
    _unresolved,
    _begins,
)

# --- a version is serving ----------------------------------------------------------------------------------


def _rolled_out(world: World, decision: Decision, serving: Serving) -> Readiness:
    """The condition of a spec that has been rolled out, with the first warning, if there is one."""
    if world.track(serving.track).replicas == 0:
        text = f"version {serving.version} is rolled out and serves as soon as there are replicas (now 0)"
        return Readiness(True, "ScaledToZero", text)
    if warning := decision.trouble:
        return Readiness(True, warning.reason, f"version {serving.version} serves, but {warning.message}")
    if left := find_idle_blocker(world, decision, serving):
        return Readiness(True, left.reason, left.message)
    if lost := describe_lost_scripts(world, decision, serving):
        return Readiness(True, "ScriptsMissing", lost)
    idle = find_idle_autoscaler(world.children.autoscaler) if world.spec.autoscaling else None
    if idle and world.now >= idle.report_at:
        return Readiness(True, "ScalingInactive", f"version {serving.version} serves, but {idle.message}")
    return Readiness(True, "Serving", f"version {serving.version} serves")


def _not_rolled_out(world: World, decision: Decision, serving: Serving) -> Readiness:
    if decision.interim and not world.spec.suspend:
        return _commit_on_its_way(decision, serving, decision.interim)
    reported = current(world, decision)
    stalled = not _goes_on(world, decision) and not world.spec.suspend
    message = f"the spec is not rolled out: {reported.message}. Version {serving.version} keeps serving"
    return Readiness(False, reported.reason, message, stalled)


def _commit_on_its_way(decision: Decision, serving: Serving, interim: Revision) -> Readiness:
    """The condition of a commit whose rollout with the serving version is in progress or has failed."""
    candidate, rejection = decision.state.candidate, decision.state.rejection_of(interim.name)
    text = f"the spec is not rolled out: version {interim.target.version} with the changed spec"
    kept = f"Version {serving.version} keeps serving"
    if candidate and candidate.revision == interim.name:
        waits = candidate.phase is Phase.WITHDRAWN and candidate.retry_at is None
        text += f": {candidate.message or candidate.phase.value}. {kept}"
        return Readiness(False, candidate.reason or "RollingOut", text, waits)
    if rejection:
        text += f" was rejected ({rejection.reason}): {rejection.message}. {kept}"
        return Readiness(False, "VersionRejected", text, rejection.retry_at is None)
    return Readiness(False, "RollingOut", f"{text} is next")


def _goes_on(world: World, decision: Decision) -> bool:
    """Whether the spec may still be rolled out without anybody's help."""
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


def _is_rolled_out(world: World, decision: Decision, serving: Serving) -> bool:
    """Whether the serving revision matches the spec, apart from the version of a moving alias."""
    if decision.held and decision.desired is None:
        return True
    if decision.is_served:
        return True
    reference = world.spec.model.reference()
    if serving.alias and serving.alias != reference.display:
        return False
    kept = decision.revision(serving.revision)
    if kept is None:
        return True
    if kept.target.model != reference.name:
        return False
    if reference.version is not None and kept.target.version != reference.version:
        return False
    if world.resolution.ok and kept.target.registry_url != world.resolution.registry_url:
        return False
    return same_target(kept.target, replace(kept.target, pod_spec=extract_pod_spec(world.spec_raw)))
