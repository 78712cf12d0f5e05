"""The start of a rollout: the wished revision becomes the candidate, or waits for its turn."""

from __future__ import annotations

from dataclasses import replace

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.plan import Announce
from model_operator.domain.revision import Revision, Side, VerdictState
from model_operator.domain.rollout import Candidate, Memory, Phase, Rejection, Serving
from model_operator.domain.world import World
from model_operator.planner.decision import Course, told, without_blame, without_watch
from model_operator.planner.health import Failure
from model_operator.planner.steps.admission import admit, turn_away
from model_operator.planner.steps.candidate import approved
from model_operator.planner.steps.desired import find_wanted, stand_in
from model_operator.planner.strategy.tracks import candidate_track, still_reached


def follow_wish(world: World, course: Course) -> Course:
    """Starts, supersedes or drops a candidate so that the wished revision becomes the serving one."""
    if world.spec is None:
        return course
    course = find_wanted(world, course)
    wished = course.wished
    if wished is None:
        return course  # what is under way goes on; nothing new starts on an answer that we do not have
    alias = world.spec.model.reference().display
    memory = course.memory
    candidate = memory.candidate
    if candidate and candidate.phase is Phase.FAILED and candidate.revision == wished.name and memory.serving:
        return _start(world, course, wished, alias)  # left in place; only a person or a commit tries it again
    if memory.serving and wished.name == memory.serving.revision:
        return _without_candidate(course, replace(memory.serving, alias=alias))
    rejection = memory.rejection_of(wished.name)
    if memory.serving and rejection and not _retried_now(world, rejection):
        course = _bring_in(world, course, alias)
        return course if course.stand_in else _without_candidate(course, memory.serving)
    course = admit(world, course, wished)
    if course.admission and course.admission.refusal:
        course = _bring_in(world, course, alias)
    if course.admission and not course.admission.admitted:
        return course if course.stand_in else turn_away(course, course.admission)
    if world.spec and _waits_for_approval(world.spec, course, wished):
        course = _bring_in(world, course, alias)
    return course if course.stand_in else _start(world, course, wished, alias)


def _bring_in(world: World, course: Course, alias: str) -> Course:
    """While the wanted version may not start, a commit is brought into force with the version that serves.

    ``course.stand_in`` stays empty where there is nothing to bring in.
    """
    course = stand_in(world, course)
    memory = course.memory
    if course.stand_in is None or memory.serving is None:
        return course
    rejection = memory.rejection_of(course.stand_in.name)
    if rejection and not _retried_now(world, rejection):
        return _without_candidate(course, memory.serving)
    return _start(world, course, course.stand_in, alias)


def _without_candidate(course: Course, serving: Serving) -> Course:
    """What serves stays; a candidate that was on its way is dropped."""
    memory = course.memory
    kept = replace(memory, candidate=None, serving=serving)
    if memory.candidate is None:
        return course.remembering(kept)
    text = f"version {memory.candidate.version} is no longer wanted; version {serving.version} serves on"
    return course.remembering(kept, Announce(False, "RolloutCancelled", text))


def _start(world: World, course: Course, wished: Revision, alias: str) -> Course:
    """Makes ``wished`` the candidate, once a person agrees, a slot is free and it has waited long enough."""
    memory, spec = course.memory, world.spec
    before = memory.candidate
    in_flight = before is not None and before.phase.in_flight
    if spec is None or (before and before.revision == wished.name and not _due(world, before)):
        return course
    if world.credentials_error:
        problem = Failure(Side.CONFIGURATION, "CredentialsMissing", world.credentials_error)
        return replace(course, problem=problem)
    attempts = _attempts(memory, wished)
    # what is tried again is not rejected meanwhile
    memory = without_blame(course, wished.name)
    course = replace(course, memory=memory)
    track = candidate_track(world, memory)
    waiting = Candidate(
        wished.name,
        wished.wish.version,
        alias,
        world.now,
        Phase.WAITING_FOR_SLOT,
        attempts=attempts,
        track=track,
    )
    if _waits_for_approval(spec, course, wished):
        return _wait(course, _for_approval(waiting))
    elsewhere = memory.serving is not None and memory.serving.track != track
    if elsewhere and not in_flight and still_reached(world, memory, track):
        return _wait(course, _for_the_endpoints(waiting))
    if not world.slot_free and not in_flight:
        return _wait(course, _for_a_slot(waiting))
    candidate = replace(waiting, phase=Phase.APPLYING)
    what, came = told(wished.wish.version, memory.serving)
    named = "" if alias == wished.wish.version else f" ({alias})"
    if course.wished and wished is course.stand_in:
        named = f", while version {course.wished.wish.version} ({alias}) may not start,"
    if course.held:
        named = " (held by the annotation revert)"
    news = Announce(False, "RolloutStarted", f"{what}{named} is rolled out{came}")
    kept = replace(memory, candidate=candidate, serving=without_watch(memory.serving))
    return replace(course.remembering(kept, news), watched="")


def _due(world: World, candidate: Candidate) -> bool:
    """Whether a candidate that is wanted still may start (again) now."""
    if candidate.phase in (Phase.WITHDRAWN, Phase.FAILED):
        return candidate.retry_at is not None and world.now >= candidate.retry_at
    return candidate.phase in (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_APPROVAL)


def _retried_now(world: World, rejection: Rejection) -> bool:
    return rejection.retry_at is not None and world.now >= rejection.retry_at


def _attempts(memory: Memory, wished: Revision) -> int:
    """The how manyth try of ``wished`` the next one is."""
    before, verdict = memory.candidate, wished.verdict
    waiting = (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_APPROVAL)
    if before and before.revision == wished.name:
        return before.attempts + (before.phase not in waiting)
    # the rejection itself may have been pardoned a moment ago
    return verdict.attempts + 1 if verdict and verdict.state is VerdictState.REJECTED else 1


def _waits_for_approval(spec: ModelDeploymentSpec, course: Course, wished: Revision) -> bool:
    """Whether a person has to agree before anything starts; one who holds a revision has agreed."""
    later = spec.gates.approval.at == "BeforeTraffic" and spec.rollout.strategy == "BlueGreen"
    return not later and not course.held and not approved(spec, wished.wish.version, wished.name)


def _for_approval(candidate: Candidate) -> Candidate:
    text = f'a person has to agree: set spec.gates.approval.approved to "{candidate.version}"'
    return replace(candidate, phase=Phase.WAITING_FOR_APPROVAL, reason="WaitingForApproval", message=text)


def _for_a_slot(candidate: Candidate) -> Candidate:
    text = "as many rollouts as maxConcurrentRollouts allows are under way; this one comes next"
    return replace(candidate, reason="WaitingForSlot", message=text)


def _for_the_endpoints(candidate: Candidate) -> Candidate:
    text = "the Service has just moved; this starts when no request goes to the pods that it replaces"
    return replace(candidate, reason="Switching", message=text)


def _wait(course: Course, waiting: Candidate) -> Course:
    before = course.memory.candidate
    if before and (before.revision, before.phase) == (waiting.revision, waiting.phase):
        return course
    news = []
    if waiting.phase is Phase.WAITING_FOR_APPROVAL:
        news = [Announce(False, "WaitingForApproval", f"version {waiting.version}: {waiting.message}")]
    return course.remembering(replace(course.memory, candidate=waiting), *news)
