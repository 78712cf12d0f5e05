"""What keeps the spec from coming into force, or what serves from doing its work."""

from __future__ import annotations

from dataclasses import dataclass

from model_operator.api import names
from model_operator.domain.objects import Kind, applied_revision
from model_operator.domain.rollout import Memory, Phase, Serving
from model_operator.domain.world import Fault, FaultKind, World
from model_operator.planner.decision import Situation, left_track, suspended
from model_operator.planner.health import judge
from model_operator.planner.revisions import scripts_are_lost
from model_operator.planner.strategy.tracks import available_replicas, pods_of, replicas_of


@dataclass(frozen=True, slots=True)
class Obstacle:
    reason: str
    message: str
    stalled: bool = True


def obstacle(world: World, situation: Situation) -> Obstacle | None:
    """What stands in the way of everything else."""
    if world.spec is None:
        return Obstacle("InvalidSpec", world.spec_error)
    if gone := situation.ownership.going_away:
        text = f"waiting for the garbage collector to remove {', '.join(gone)} of the ModelDeployment before"
        return Obstacle("WaitingForDeletion", text, stalled=False)
    taken = [*situation.ownership.conflicts]
    taken += [f"{f.ref} ({f.message})" for f in world.faults if f.kind is FaultKind.NAME_TAKEN]
    if taken:
        text = (
            f"{', '.join(taken)} exists and is not ours; it stays untouched. Rename this ModelDeployment, or delete "
            "or rename that object"
        )
        return Obstacle("NameConflict", text)
    for fault in world.faults:
        if _is_the_candidates(world, fault, situation.memory):
            continue
        if fault.kind is FaultKind.INVALID:
            return Obstacle("FieldRefused", f"the API server refuses {fault.ref}: {fault.message}")
        if fault.kind is FaultKind.QUOTA:
            return Obstacle("QuotaExceeded", f"{fault.ref} can't be written: {fault.message}")
        if fault.kind in (FaultKind.FORBIDDEN, FaultKind.BROKEN):
            return Obstacle("Refused", f"{fault.ref} can't be written: {fault.message}")
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


def idle_trouble(world: World, situation: Situation, serving: Serving) -> Obstacle | None:
    """Why a track that neither serves nor carries a candidate keeps the size or the shape that it has."""
    memory = situation.memory
    in_use = {serving.track, memory.candidate.track if memory.candidate else ""}
    for fault in world.faults:
        idle = fault.ref.kind is Kind.DEPLOYMENT and fault.ref.name not in in_use
        if idle and fault.kind not in (FaultKind.NAME_TAKEN, FaultKind.CONTESTED):
            text = (
                f"version {serving.version} serves, but {fault.ref}, which no longer does, can't be written: "
            )
            return Obstacle("Refused", text + fault.message, stalled=False)
    return None


def serving_trouble(world: World, situation: Situation, serving: Serving) -> Obstacle | None:
    """What keeps the serving revision from doing its work."""
    live = world.deployment(serving.track)
    left = applied_revision(world.deployment(left_track(world, serving) or " "))
    if situation.memory.rejection_of(left) and not suspended(world):
        if replicas_of(live) and not available_replicas(live):
            blocked = _nothing_available(world, situation, serving)
            if blocked.stalled:
                return blocked
        text = f"requests go back to version {serving.version} as soon as its pods are ready"
        return Obstacle("Switching", text, stalled=False)
    if replicas_of(live) and not available_replicas(live):
        return _nothing_available(world, situation, serving)
    if live is None:
        text = f"version {serving.version} should serve, but its Deployment is missing"
        return Obstacle("PodsUnavailable", text, stalled=False)
    if serving.reason:
        text = f"version {serving.version} serves and fails its watch: {serving.message}"
        return Obstacle(serving.reason, text)
    return None


def _nothing_available(world: World, situation: Situation, serving: Serving) -> Obstacle:
    """A revert target that can't start is not reverted further: a person has to help, and pods keep trying."""
    text = f"version {serving.version} should serve, but none of its pods is available"
    if world.spec is None:
        return Obstacle("PodsUnavailable", text, stalled=False)
    pods, live = pods_of(world, serving.track), world.deployment(serving.track)
    found = judge(serving.revision, live, pods, world.spec.rollout, world.now)
    text += f": {found.message}" if found.message and (found.failure or found.hint) else ""
    rejected = situation.memory.rejected
    if rejected and found.failure and (rejected[0].at >= serving.since or not serving.settled):
        text += "; it is what was gone back to, so there is no further way back"
        return Obstacle("RevertBlocked", text)
    return Obstacle("PodsUnavailable", text, stalled=False)


def lost_scripts(world: World, situation: Situation, serving: Serving) -> str:
    """What is to be said of a serving revision whose new pods could not start; empty when they could."""
    kept = next((r for r in situation.revisions if r.name == serving.revision), None)
    if kept is None or not scripts_are_lost(world, kept):
        return ""
    return (
        f"version {serving.version} serves, but new pods of it could not start: the ConfigMap {kept.config_map} with "
        "the scripts of an earlier build of the operator was deleted and can't be made again; have the pods "
        f"rendered by the present build with a new value of the annotation {names.REQUEST_RESTART}"
    )
