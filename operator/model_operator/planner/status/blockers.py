"""Obstacles that keep the spec from being rolled out, or the serving revision from working."""

from __future__ import annotations

from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.rollout import Phase, RolloutState, Serving, was_reverted_to
from model_operator.domain.world import RefusalKind, RefusedWrite, World
from model_operator.planner.decision import Decision, left_track
from model_operator.planner.health import judge_candidate_pods
from model_operator.planner.revisions import scripts_are_lost
from model_operator.planner.strategy.tracks import deployment_name


@dataclass(frozen=True, slots=True)
class Blocker:
    reason: str
    message: str
    stalled: bool = True


def find_blocker(world: World, decision: Decision) -> Blocker | None:
    """The obstacle to everything else, if any."""
    if gone := decision.ownership.going_away:
        text = f"waiting for the garbage collector to remove {', '.join(gone)} of an earlier ModelDeployment"
        return Blocker("WaitingForDeletion", text, stalled=False)
    taken = [*decision.ownership.conflicts]
    taken += [f"{f.ref} ({f.message})" for f in world.refused_writes if f.kind is RefusalKind.NAME_TAKEN]
    if taken:
        text = (
            f"{', '.join(taken)} exists and does not belong to this ModelDeployment, so the operator leaves it alone. "
            "Rename this ModelDeployment, or delete or rename that object"
        )
        return Blocker("NameConflict", text)
    for refused in world.refused_writes:
        if _is_the_candidates(world, refused, decision.state):
            continue
        if refused.kind is RefusalKind.INVALID:
            return Blocker("FieldRefused", f"the API server refuses {refused.ref}: {refused.message}")
        if refused.kind is RefusalKind.QUOTA:
            return Blocker("QuotaExceeded", f"{refused.ref} can't be written: {refused.message}")
        if refused.kind in (RefusalKind.FORBIDDEN, RefusalKind.BROKEN):
            return Blocker("Refused", f"{refused.ref} can't be written: {refused.message}")
    return None


def _is_the_candidates(world: World, refused: RefusedWrite, state: RolloutState) -> bool:
    """Whether the API server refused a candidate's template: the planner handles that, the serving pods are fine."""
    if refused.ref.kind is not Kind.DEPLOYMENT:
        return False
    candidate = state.candidate
    if state.serving and refused.ref.name != deployment_name(world, state.serving.track):
        return True
    if refused.kind is not RefusalKind.INVALID and state.serving is None:
        return False
    if candidate and candidate.phase is Phase.FAILED:
        return candidate.reason == "FieldRefused"
    if candidate and candidate.phase.in_flight:
        return world.track(candidate.track).revision != candidate.revision
    newest = state.rejected[0] if state.rejected else None
    return newest is not None and newest.reason == "FieldRefused" and newest.at == world.now


def find_idle_blocker(world: World, decision: Decision, serving: Serving) -> Blocker | None:
    """The obstacle to a change of a track that has neither the serving revision nor the candidate."""
    state = decision.state
    in_use = {deployment_name(world, serving.track)}
    in_use |= {deployment_name(world, state.candidate.track)} if state.candidate else set()
    for refused in world.refused_writes:
        idle = refused.ref.kind is Kind.DEPLOYMENT and refused.ref.name not in in_use
        if idle and refused.kind not in (RefusalKind.NAME_TAKEN, RefusalKind.CONTESTED):
            text = f"version {serving.version} serves, but {refused.ref}, which is no longer in use, can't be written: "
            return Blocker("Refused", text + refused.message, stalled=False)
    return None


def find_serving_blocker(world: World, decision: Decision, serving: Serving) -> Blocker | None:
    """The obstacle that keeps the serving revision from working."""
    live = world.track(serving.track)
    left = world.track(left_track(world, serving)).revision
    if decision.state.rejection_of(left) and not world.spec.suspend:
        if live.replicas and not live.available:
            blocked = _nothing_available(world, decision, serving)
            if blocked.stalled:
                return blocked
        text = f"requests go back to version {serving.version} as soon as its pods are ready"
        return Blocker("Switching", text, stalled=False)
    if serving.reason and live.exists:
        return _reported(decision, serving)
    if live.replicas and not live.available:
        return _nothing_available(world, decision, serving)
    if not live.exists:
        text = f"version {serving.version} should serve, but its Deployment is missing"
        return Blocker("PodsUnavailable", text, stalled=False)
    return None


def _reported(decision: Decision, serving: Serving) -> Blocker:
    """The obstacle of a serving revision whose failure was reported without a revert.

    It stays while its pods come back between two crashes.
    """
    candidate = decision.state.candidate
    stalled = candidate is None or not candidate.phase.in_flight
    if not serving.settled:
        text = f"version {serving.version} is serving and fails in its watch window: {serving.message}"
        return Blocker(serving.reason, text, stalled)
    text = f"version {serving.version} fails after its watch window: {serving.message}"
    return Blocker("RevertBlocked" if was_reverted_to(decision.state) else serving.reason, text, stalled)


def _nothing_available(world: World, decision: Decision, serving: Serving) -> Blocker:
    """The obstacle of a serving revision without available pods.

    If it is the target of a revert, it is not reverted further. A person has to help, and its pods keep trying.
    """
    text = f"version {serving.version} should serve, but none of its pods is available"
    live = world.track(serving.track)
    found = judge_candidate_pods(serving.revision, live, world.spec.rollout, world.now)
    text += f": {found.message}" if found.message and (found.failure or found.hint) else ""
    rejected = decision.state.rejected
    if rejected and found.failure and (rejected[0].at >= serving.since or not serving.settled):
        text += (
            f". The operator has already reverted to version {serving.version} and does not revert further"
        )
        return Blocker("RevertBlocked", text)
    return Blocker("PodsUnavailable", text, stalled=False)


def describe_lost_scripts(world: World, decision: Decision, serving: Serving) -> str:
    """The message for a serving revision whose new pods could not start. Empty if they could."""
    kept = next((r for r in decision.revisions if r.name == serving.revision), None)
    if kept is None or not scripts_are_lost(world, kept):
        return ""
    return (
        f"version {serving.version} serves, but new pods of it could not start: the ConfigMap {kept.config_map} with "
        "the scripts of an earlier build of the operator was deleted and can't be recreated. To render "
        f"the pods with the current build, set a new value of the annotation {names.REQUEST_RESTART}"
    )
