"""Whether the desired version is serving: the condition Current, as ordered rules."""

from __future__ import annotations

from collections.abc import Callable

from model_operator.api import names
from model_operator.domain.objects import rfc3339
from model_operator.domain.world import World
from model_operator.planner.decision import Decision, left_track
from model_operator.planner.status.condition import Condition, Status


def current(world: World, decision: Decision) -> Condition:
    """The condition Current, by the first rule with a result."""
    return next(found for rule in _RULES if (found := rule(world, decision)))


def _condition(reason: str, message: str, status: Status = "False") -> Condition:
    return Condition("Current", status, reason, message)


def _unresolved(world: World, decision: Decision) -> Condition | None:
    resolution = world.resolution
    if resolution.ok or decision.held:
        return None
    return _condition(
        resolution.reason.value, resolution.message, "False" if resolution.reason.definite else "Unknown"
    )


def _can_not_start(world: World, decision: Decision) -> Condition | None:
    return _condition(decision.problem.reason, decision.problem.message) if decision.problem else None


def _held_by_a_person(world: World, decision: Decision) -> Condition | None:
    serving = decision.state.serving
    if serving is None or not decision.held or not decision.is_served:
        return None
    return _condition(
        "RevisionHeld",
        f"version {serving.version} is held by the annotation {names.REQUEST_REVERT}. "
        "Remove it to follow spec.model again",
    )


def _suspended(world: World, decision: Decision) -> Condition | None:
    if not world.spec.suspend or decision.is_served:
        return None
    return _condition("Suspended", "spec.suspend is true: the operator changes nothing until it is false")


def _desired_serves(world: World, decision: Decision) -> Condition | None:
    serving = decision.state.serving
    if serving is None or not decision.is_served:
        return None
    if left_track(world, serving):
        return _condition(
            "Switching", f"version {serving.version} is ready, and requests are about to move to it"
        )
    if world.track(serving.track).revision == serving.revision:
        return _condition("Serving", f"version {serving.version} is the desired version and serves", "True")
    return _condition("RollingOut", f"version {serving.version} is being restored")


def _gates_keep_it_out(world: World, decision: Decision) -> Condition | None:
    if not decision.desired or not decision.turned_away:
        return None
    return _condition(decision.turned_away.reason, describe_kept_out(decision))


def _rejected(world: World, decision: Decision) -> Condition | None:
    rejection = decision.state.rejection_of(decision.desired.name) if decision.desired else None
    if rejection is None:
        return None
    text = f"version {rejection.version} was rejected ({rejection.reason}): {rejection.message}"
    if rejection.retry_at:
        text += f". It is tried again at {rfc3339(rejection.retry_at)}"
    return _condition("VersionRejected" if decision.state.serving else "FirstVersionFailed", text)


def _waits_for_approval_behind_a_commit(world: World, decision: Decision) -> Condition | None:
    if not waits_behind_a_commit(decision):
        return None
    return _condition("WaitingForApproval", describe_wait_behind_a_commit(decision))


def _under_way(world: World, decision: Decision) -> Condition | None:
    candidate = decision.state.candidate
    return _condition(candidate.reason or "RollingOut", candidate.progress) if candidate else None


def _undecided(world: World, decision: Decision) -> Condition:
    return _condition("Pending", "the operator has not decided yet", "Unknown")


_RULES: tuple[Callable[[World, Decision], Condition | None], ...] = (
    _unresolved,
    _can_not_start,
    _held_by_a_person,
    _suspended,
    _desired_serves,
    _gates_keep_it_out,
    _rejected,
    _waits_for_approval_behind_a_commit,
    _under_way,
    _undecided,
)

# --- messages that other conditions use, too --------------------------------------------------------------


def describe_kept_out(decision: Decision) -> str:
    """The message for a gate that keeps the desired version out. Empty if none does."""
    gate, desired = decision.turned_away, decision.desired
    if gate is None or desired is None:
        return ""
    return f"version {desired.target.version} is kept out by gate {gate.gate}: {gate.message}"


def waits_behind_a_commit(decision: Decision) -> bool:
    """Whether the desired version lacks only a person's approval, and a commit is rolled out in the meantime."""
    desired = decision.desired
    if desired is None or decision.interim is None or decision.turned_away:
        return False
    return decision.state.rejection_of(desired.name) is None


def describe_wait_behind_a_commit(decision: Decision) -> str:
    """The message for a version that waits for approval while a commit is rolled out."""
    version = decision.desired.target.version if decision.desired else ""
    return (
        f"version {version} waits for approval. Meanwhile, the changed spec is rolled out with the "
        "serving version"
    )
