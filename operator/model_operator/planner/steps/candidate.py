"""The life of a candidate: judged by its pods, it goes live, is rejected, or is withdrawn without blame."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import Kind, applied_revision
from model_operator.domain.plan import Announce
from model_operator.domain.revision import Side
from model_operator.domain.rollout import Candidate, Memory, Phase, Rejection, Serving
from model_operator.domain.world import FaultKind, World
from model_operator.planner.annotations import asked
from model_operator.planner.decision import (
    ATTEMPTS,
    Course,
    costs_a_serving_pod,
    ended,
    retry_delay,
    self_tested,
    told,
    without_watch,
)
from model_operator.planner.health import FAULTS, MESSAGE_LIMIT, Failure, Judgement, judge
from model_operator.planner.health import failure as health_failure
from model_operator.planner.strategy.tracks import pods_of, replicas_of, wanted_replicas
from model_operator.planner.target import held_revision


def judge_candidate(world: World, course: Course) -> Course:
    """Looks at the pods of the candidate, if a Deployment carries one, and draws the consequence."""
    candidate = course.memory.candidate
    if candidate is None or world.spec is None or not candidate.phase.carried:
        return course
    judgement = judge(
        candidate.revision,
        world.deployment(candidate.track),
        pods_of(world, candidate.track),
        world.spec.rollout,
        world.now,
    )
    course = replace(course, judgement=judgement)
    if judgement.live and _as_big_as_needed(world, course.memory, candidate):
        if _waits_for_traffic(world, course, candidate):
            return _show(world.spec, course, candidate)
        return _go_live(world, course, candidate, judgement)
    if candidate.phase is Phase.FAILED:
        return course  # the kubelet keeps trying; what it was rejected for still stands
    stuck = _stuck(world, course, judgement)
    failure = stuck or judgement.failure
    if failure and (stuck or failure.side is Side.ENVIRONMENT):
        return withdraw(world, course, candidate, failure)
    if failure:
        return reject(world, course, candidate, failure)
    moved = replace(
        candidate,
        phase=judgement.phase,
        reason=judgement.hint,
        message=judgement.message,
        deadline=judgement.deadline,
    )
    return course.remembering(replace(course.memory, candidate=moved))


def judge_template_fault(world: World, course: Course) -> Course:
    """A template that the API server refuses is the spec's fault; the Deployment still has the one before."""
    candidate = course.memory.candidate
    if candidate is None or not candidate.phase.in_flight:
        return course
    if applied_revision(world.deployment(candidate.track)) == candidate.revision:
        return course
    for fault in world.faults:
        if fault.ref != world.ref(Kind.DEPLOYMENT, candidate.track) or fault.kind is FaultKind.NAME_TAKEN:
            continue
        message = f"the API server refuses the pod template: {fault.message}"
        if fault.kind is FaultKind.INVALID:
            return reject(world, course, candidate, health_failure("FieldRefused", message))
        # a policy or a quota may change its mind; nothing has moved yet, so asking again costs nothing
        held_up = replace(candidate, reason="Refused", message=message)
        return course.remembering(replace(course.memory, candidate=held_up))
    return course


def time_for_a_pod(spec: ModelDeploymentSpec) -> timedelta:
    """How long the phases of one pod may take together."""
    limits = spec.rollout
    return timedelta(seconds=limits.scheduling_seconds + limits.fetch_seconds + limits.startup_seconds)


def _stuck(world: World, course: Course, judgement: Judgement) -> Failure | None:
    """Pods that are replaced again and again (evicted, say) never miss a deadline of their own."""
    candidate, spec = course.memory.candidate, world.spec
    if candidate is None or spec is None or course.memory.serving is None or judgement.live:
        return None
    time = time_for_a_pod(spec)
    if judgement.failure or judgement.phase is Phase.ROLLING or world.now < candidate.since + time:
        return None
    message = f"no pod became ready within {time.total_seconds():.0f} s: {judgement.message}"
    known = FAULTS.get(judgement.hint)
    if known and known.side is Side.ENVIRONMENT:
        return replace(health_failure(judgement.hint), message=message[:MESSAGE_LIMIT])
    # what hinders them may be anybody's fault; that nothing comes of it is the environment's
    return health_failure("NoProgress", message)


def _as_big_as_needed(world: World, memory: Memory, candidate: Candidate) -> bool:
    """Beside a serving track, all pods are there only when it has the size of that track."""
    if memory.serving is None or candidate.track == memory.serving.track:
        return True
    return replicas_of(world.deployment(candidate.track)) >= wanted_replicas(world, memory.serving)


# --- approval --------------------------------------------------------------------------------------


def approved(spec: ModelDeploymentSpec, version: str, revision: str) -> bool:
    """Whether a reviewed commit agrees to that version or revision, or nobody has to."""
    approval = spec.gates.approval
    return approval.mode == "Automatic" or approval.approved in (version, revision)


def _waits_for_traffic(world: World, course: Course, candidate: Candidate) -> bool:
    """Whether it takes no requests yet and a person has to agree first; one who holds it has agreed."""
    spec, serving = world.spec, course.memory.serving
    if spec is None or approved(spec, candidate.version, candidate.revision):
        return False
    if _is_held(world, course, candidate):
        return False
    # a commit that moves the gate must not let through what stands behind it
    beside = serving is not None and candidate.track != serving.track
    hidden = spec.gates.approval.at == "BeforeTraffic" and spec.rollout.strategy == "BlueGreen"
    return hidden or beside or candidate.phase is Phase.READY


def _is_held(world: World, course: Course, candidate: Candidate) -> bool:
    """Whether a person asked for it by the annotation revert."""
    held = held_revision(course.revisions, asked(world, "revert"))
    return held is not None and held.name == candidate.revision


def _show(spec: ModelDeploymentSpec, course: Course, candidate: Candidate) -> Course:
    message = (
        "every pod is ready and none takes requests; set spec.gates.approval.approved to "
        f'"{candidate.version}" to let the Service move, and try it before at the Service with -candidate in its name'
    )
    shown = replace(candidate, phase=Phase.READY, reason="WaitingForApproval", message=message, deadline=None)
    news = []
    if candidate.phase is not Phase.READY:
        news = [Announce(False, "WaitingForApproval", f"version {candidate.version}: {message}")]
    return course.remembering(replace(course.memory, candidate=shown), *news)


# --- how it ends -----------------------------------------------------------------------------------


def _go_live(world: World, course: Course, candidate: Candidate, judgement: Judgement) -> Course:
    """The candidate becomes the serving revision, and its watch begins."""
    memory, spec = course.memory, world.spec
    before = memory.serving
    empty = replicas_of(world.deployment(candidate.track)) == 0
    watch = timedelta(seconds=spec.rollout.watch_seconds if spec else 0)
    serving = Serving(
        candidate.revision,
        candidate.version,
        candidate.alias,
        world.now,
        "" if empty else self_tested(spec, judgement.self_test),
        track=candidate.track,
        # without a pod there is nothing to be seen; the watch begins with the first one
        settled=not watch and not empty,
        watch_ends=None if empty or not watch else world.now + watch,
    )
    took = int((world.now - candidate.since).total_seconds())
    what, came = told(candidate.version, before)
    text = f"{what} serves{came}, {took} s after its rollout began"
    if empty:
        text = f"{what} is set{came}, untested: there are 0 replicas"
    rejected = tuple(r for r in memory.rejected if r.revision != candidate.revision)
    by = f"by {what}"
    if _is_held(world, course, candidate):
        by += ", which the annotation revert holds"
    history = ended(memory, world.now, "Replaced", by)
    return course.remembering(Memory(serving, None, rejected, history), Announce(False, "RolledOut", text))


def reject(world: World, course: Course, candidate: Candidate, failure: Failure) -> Course:
    """Remembers the failure and goes back, or stays where there is nothing to go back to."""
    memory = course.memory
    again = _tried_again(world, memory, candidate, failure)
    message = failure.message
    if not failure.definite and again is None and memory.serving and candidate.attempts >= ATTEMPTS:
        message += f"; it was tried {candidate.attempts} times"
    rejection = Rejection(
        candidate.revision,
        candidate.version,
        candidate.alias,
        failure.side,
        failure.reason,
        message,
        world.now,
        candidate.attempts,
        world.now + again if again else None,
    )
    rejected = (rejection, *(r for r in memory.rejected if r.revision != candidate.revision))
    never = world.spec is not None and world.spec.revert.policy == "Never"
    if memory.serving and not never:
        what, came = told(candidate.version, memory.serving)
        back = f"back to version {memory.serving.version}" if came else "back to the spec before"
        text = f"{what} failed ({failure.reason}); {back}: {failure.message}"
        kept = replace(memory, candidate=None, rejected=rejected)
        return course.remembering(kept, Announce(True, "Reverted", text))
    failed = replace(
        candidate,
        phase=Phase.FAILED,
        reason=failure.reason,
        message=failure.message,
        deadline=None,
        retry_at=None,
    )
    why = "there is no earlier version to go back to"
    if memory.serving:
        why = "spec.revert.policy is Never, so it is left in place"
    text = f"version {candidate.version} failed and {why}: {failure.message}"
    kept = replace(memory, candidate=failed, rejected=rejected)
    return course.remembering(kept, Announce(True, failure.reason, text))


def _tried_again(world: World, memory: Memory, candidate: Candidate, failure: Failure) -> timedelta | None:
    """When a failure that may have been an accident is tried again; None when it is not."""
    if failure.definite or memory.serving is None or candidate.attempts >= ATTEMPTS:
        return None
    never = world.spec is not None and world.spec.revert.policy == "Never"
    if never or costs_a_serving_pod(world, memory, candidate.track):
        return None
    return retry_delay(candidate.attempts)


def withdraw(world: World, course: Course, candidate: Candidate, failure: Failure) -> Course:
    """Takes the candidate back without blame, to be tried again; stays where nothing else could serve."""
    memory = course.memory
    if memory.serving is None:
        phase = course.judgement.phase if course.judgement else candidate.phase
        waiting = replace(
            candidate, phase=phase, reason=failure.reason, message=failure.message, deadline=None
        )
        return course.remembering(replace(memory, candidate=waiting))
    message = failure.message
    # without a surge each try takes a serving pod away, so only a person may ask for the next one
    retried = not costs_a_serving_pod(world, memory, candidate.track)
    if not retried:
        message += (
            "; not tried again by itself, because with rollout.maxSurge 0 each try takes a serving pod away: "
        )
        message += "any change of the spec tries it again"
    withdrawn = replace(
        candidate,
        phase=Phase.WITHDRAWN,
        reason=failure.reason,
        message=message,
        deadline=None,
        retry_at=world.now + retry_delay(candidate.attempts) if retried else None,
    )
    what, _ = told(candidate.version, memory.serving)
    text = f"{what} is withdrawn for now ({failure.reason}), what served before serves on: {message}"
    kept = replace(memory, candidate=withdrawn, serving=without_watch(memory.serving))
    return course.remembering(kept, Announce(True, "Withdrawn", text))
