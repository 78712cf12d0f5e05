"""The whole life of a rollout: ``plan(world)`` says what to do next and what to report. Pure.

Read ``plan`` from top to bottom: remember, look at the candidate, look at the wish, then make the cluster carry
the active revision. Nothing depends on which event woke us; the same world always gives the same plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.children import child_actions, ownership_of
from model_operator.health import Failure, Judgement, judge
from model_operator.manifests import (
    ImageProblem,
    Owner,
    TemplateInputs,
    pod_shape,
    pod_template,
    resolve_images,
    revision_name,
    same_wish,
    scripts_config_map,
)
from model_operator.memory import Candidate, Memory, Phase, Rejection, Serving, applied_revision, recall
from model_operator.report import Situation, report, retry_asked, scaled_to_zero, troubles
from model_operator.world import (
    Announce,
    FaultKind,
    Kind,
    Plan,
    Revision,
    Side,
    VerdictState,
    Wish,
    World,
)

FIRST_RETRY = timedelta(seconds=60)
LONGEST_RETRY = timedelta(hours=1)
FAULT_RETRY = timedelta(seconds=30)
GARBAGE_WAIT = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Course:
    """How far the decision has come: the memory as it will be, and what is worth telling."""

    memory: Memory
    revisions: Sequence[Revision]
    """The kept revisions, with the one that this plan makes."""
    judgement: Judgement | None = None
    news: Sequence[Announce] = field(default=())
    problem: Failure | None = None
    """Why the wish can't even be started."""
    wished: Revision | None = None
    retried: bool = False
    """Whether a person's request to try again was heard."""

    def revision(self, name: str) -> Revision | None:
        """The kept revision of that name."""
        return next((r for r in self.revisions if r.name == name), None)


def plan(world: World) -> Plan:
    """Decides the next step of one ModelDeployment. Raises nothing for any world that can be observed."""
    ownership = ownership_of(world)
    if ownership.going_away:
        # what the kept revisions tell is another object's life
        situation = Situation(Memory(), ownership=ownership)
        return Plan((), report(world, situation), GARBAGE_WAIT)
    course = Course(recall(world), tuple(world.children.revisions))
    if not ownership.conflicts:
        course = _pardon(world, course)
        course = _judge_candidate(world, course)
        course = _judge_template_fault(world, course)
        course = _follow_wish(world, course)
    situation = Situation(
        course.memory,
        ownership,
        course.judgement,
        course.wished,
        course.problem,
        course.revisions,
        retry_asked(world) if course.retried else "",
    )
    actions = (
        () if ownership.conflicts else child_actions(world, course.memory, course.revisions, course.wished)
    )
    candidate = course.memory.candidate
    status = report(world, situation)
    return Plan(
        actions,
        status,
        _look_again(world, course),
        (*course.news, *troubles(world.status, status)),
        # a rollout that is held up must not hold up the others
        rollout_in_flight=bool(
            candidate and candidate.phase.in_flight and not candidate.reason and not world.faults
        ),
    )


def _pardon(world: World, course: Course) -> Course:
    """A commit may have mended what was the manifest's fault, also outside the part that shapes the pods."""
    if not _committed(world):
        return course
    rejected = tuple(r for r in course.memory.rejected if r.side is not Side.CONFIGURATION)
    return replace(course, memory=replace(course.memory, rejected=rejected))


def _committed(world: World) -> bool:
    """Whether this plan is the first to see the spec as it is now; a lost status tells nothing."""
    seen = world.status.get("observedGeneration")
    return seen is not None and seen != world.generation


# --- the candidate ---------------------------------------------------------------------------------


def _judge_candidate(world: World, course: Course) -> Course:
    """Moves the candidate on: live, failed, withdrawn, or further along."""
    candidate = course.memory.candidate
    if candidate is None or world.spec is None:
        return course
    if not candidate.phase.in_flight and candidate.phase is not Phase.FAILED:
        return course
    judgement = judge(
        candidate.revision,
        world.children.deployment,
        world.children.pods,
        world.spec.rollout,
        world.now,
    )
    course = replace(course, judgement=judgement)
    if judgement.live:
        return _go_live(world, course, candidate, judgement)
    if candidate.phase is Phase.FAILED:
        return course  # the kubelet keeps trying; what it was rejected for still stands
    stuck = _stuck(world, course, judgement)
    if stuck:
        return _withdraw(world, course, candidate, stuck)
    if judgement.failure and judgement.failure.side is Side.ENVIRONMENT:
        return _withdraw(world, course, candidate, judgement.failure)
    if judgement.failure:
        return _reject(world, course, candidate, judgement.failure)
    moved = replace(
        candidate,
        phase=judgement.phase,
        reason=judgement.hint,
        message=judgement.message,
        deadline=judgement.deadline,
    )
    return replace(course, memory=replace(course.memory, candidate=moved))


def _stuck(world: World, course: Course, judgement: Judgement) -> Failure | None:
    """Pods that are replaced again and again (evicted, say) never miss a deadline of their own."""
    candidate, spec = course.memory.candidate, world.spec
    if candidate is None or spec is None or course.memory.serving is None:
        return None
    time = _time_for_a_pod(spec)
    if judgement.failure or judgement.phase is Phase.ROLLING or world.now < candidate.since + time:
        return None
    message = f"no pod became ready within {time.total_seconds():.0f} s: {judgement.message}"
    return Failure(Side.ENVIRONMENT, judgement.hint or "NoProgress", message)


def _time_for_a_pod(spec: ModelDeploymentSpec) -> timedelta:
    """How long the phases of one pod may take together."""
    limits = spec.rollout
    return timedelta(seconds=limits.scheduling_seconds + limits.fetch_seconds + limits.startup_seconds)


def _go_live(world: World, course: Course, candidate: Candidate, judgement: Judgement) -> Course:
    """The candidate becomes the serving revision and the next revert's target."""
    before = course.memory.serving
    serving = Serving(
        candidate.revision, candidate.version, candidate.alias, world.now, _self_test(world, judgement)
    )
    took = int((world.now - candidate.since).total_seconds())
    what, came = _told(candidate.version, before)
    text = f"{what} serves{came}, {took} s after its rollout began"
    if scaled_to_zero(world):
        text = f"{what} is set{came}, untested: there are 0 replicas"
    news = Announce(False, "RolledOut", text)
    rejected = tuple(r for r in course.memory.rejected if r.revision != candidate.revision)
    return replace(course, memory=Memory(serving, None, rejected), news=(*course.news, news))


def _told(version: str, before: Serving | None) -> tuple[str, str]:
    """What is rolled out, and in place of what, in words."""
    if before is None:
        return f"version {version}", ""
    if before.version == version:
        return f"version {version} with the changed spec", ""
    return f"version {version}", f" in place of version {before.version}"


def _self_test(world: World, judgement: Judgement) -> str:
    if world.spec is None or world.spec.server.runtime != "MLflow" or scaled_to_zero(world):
        return ""
    if world.spec.self_test.mode == "LoadOnly":
        return "LoadOnly"
    if world.spec.self_test.payload is not None:
        return "Passed"
    return judgement.self_test


def _reject(world: World, course: Course, candidate: Candidate, failure: Failure) -> Course:
    """Remembers the failure and goes back, or stays where there is nothing to go back to."""
    memory = course.memory
    rejection = Rejection(
        candidate.revision,
        candidate.version,
        candidate.alias,
        failure.side,
        failure.reason,
        failure.message,
        world.now,
        candidate.attempts,
    )
    rejected = (rejection, *(r for r in memory.rejected if r.revision != candidate.revision))
    if memory.serving:
        what, came = _told(candidate.version, memory.serving)
        back = f"back to version {memory.serving.version}" if came else "back to the spec before"
        news = Announce(True, "Reverted", f"{what} failed ({failure.reason}); {back}: {failure.message}")
        return replace(course, memory=Memory(memory.serving, None, rejected), news=(*course.news, news))
    failed = replace(
        candidate,
        phase=Phase.FAILED,
        reason=failure.reason,
        message=failure.message,
        deadline=None,
        retry_at=None,
    )
    news = Announce(
        True,
        failure.reason,
        f"version {candidate.version} failed and there is no earlier version to go back to: {failure.message}",
    )
    return replace(course, memory=Memory(None, failed, rejected), news=(*course.news, news))


def _withdraw(world: World, course: Course, candidate: Candidate, failure: Failure) -> Course:
    """Takes the candidate back without blame, to be tried again; stays where nothing else could serve."""
    memory = course.memory
    if memory.serving is None:
        phase = course.judgement.phase if course.judgement else candidate.phase
        waiting = replace(
            candidate, phase=phase, reason=failure.reason, message=failure.message, deadline=None
        )
        return replace(course, memory=replace(memory, candidate=waiting))
    message = failure.message
    delay = min(FIRST_RETRY * 2 ** min(candidate.attempts - 1, 10), LONGEST_RETRY)
    # without a surge each try takes a serving pod away, so only a person may ask for the next one
    retried = world.spec is not None and world.spec.rollout.max_surge not in (0, "0%")
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
        retry_at=world.now + delay if retried else None,
    )
    what, _ = _told(candidate.version, memory.serving)
    text = f"{what} is withdrawn for now ({failure.reason}), what served before serves on: {message}"
    news = Announce(True, "Withdrawn", text)
    return replace(course, memory=replace(memory, candidate=withdrawn), news=(*course.news, news))


def _judge_template_fault(world: World, course: Course) -> Course:
    """A template that the API server refuses is the spec's fault; the Deployment still has the one before."""
    candidate = course.memory.candidate
    if candidate is None or not candidate.phase.in_flight:
        return course
    if applied_revision(world.children.deployment) == candidate.revision:
        return course
    for fault in world.faults:
        if fault.ref.kind is not Kind.DEPLOYMENT or fault.kind is FaultKind.NAME_TAKEN:
            continue
        message = f"the API server refuses the pod template: {fault.message}"
        if fault.kind is FaultKind.INVALID:
            return _reject(world, course, candidate, Failure(Side.CONFIGURATION, "FieldRefused", message))
        # a policy or a quota may change its mind; nothing has moved yet, so asking again costs nothing
        held_up = replace(candidate, reason="Refused", message=message)
        return replace(course, memory=replace(course.memory, candidate=held_up))
    return course


# --- the wish --------------------------------------------------------------------------------------


def _follow_wish(world: World, course: Course) -> Course:
    """Starts, supersedes or drops a candidate so that the wished revision becomes the serving one."""
    version = world.resolution.version
    if world.spec is None or not world.resolution.ok or version is None:
        return course  # what is under way goes on; nothing new starts on an answer that we do not have
    wish = Wish(
        world.resolution.registry_url,
        version.model,
        version.version,
        version.run_id,
        version.source,
        "",
        pod_shape(world.spec_raw),
    )
    wished = _kept(course, wish)
    if wished is None:
        made = _render(world, course, wish)
        if isinstance(made, Failure):
            return replace(course, problem=made)
        wished = made
        course = replace(course, revisions=(*course.revisions, wished))
    course = _hear_retry(world, replace(course, wished=wished))
    memory = course.memory
    if memory.serving and wished.name == memory.serving.revision:
        return _come_home(course, version.alias)
    if memory.serving and memory.rejection_of(wished.name):
        return _without_candidate(course, memory.serving)
    return _start(world, course, wished, version.alias)


def _hear_retry(world: World, course: Course) -> Course:
    """A person asks by annotation: what is wanted now is tried again, whatever it was rejected for."""
    if course.wished is None or not retry_asked(world):
        return course
    rejected = tuple(r for r in course.memory.rejected if r.revision != course.wished.name)
    return replace(course, memory=replace(course.memory, rejected=rejected), retried=True)


def _kept(course: Course, wish: Wish) -> Revision | None:
    """The kept revision of the same wish; a wish is never rendered a second time."""
    return next((r for r in reversed(course.revisions) if same_wish(r.wish, wish)), None)


def _come_home(course: Course, alias: str) -> Course:
    """The wish is what serves already: a candidate that was on its way is dropped."""
    serving = course.memory.serving
    return course if serving is None else _without_candidate(course, replace(serving, alias=alias))


def _without_candidate(course: Course, serving: Serving) -> Course:
    """What serves stays; a candidate that was on its way is dropped."""
    memory, news = course.memory, course.news
    if memory.candidate:
        text = f"version {memory.candidate.version} is no longer wanted; version {serving.version} serves on"
        news = (*news, Announce(False, "RolloutCancelled", text))
    return replace(course, memory=replace(memory, candidate=None, serving=serving), news=news)


def _render(world: World, course: Course, wish: Wish) -> Revision | Failure:
    """Makes a revision of ``wish``; from here on its template is fixed."""
    if world.spec is None or world.resolution.version is None:
        return Failure(Side.CONFIGURATION, "Unresolved", "there is no version to render")
    if world.credentials_error:
        return Failure(Side.CONFIGURATION, "CredentialsMissing", world.credentials_error)
    images = resolve_images(world.spec, world.defaults, world.resolution.version.tags)
    if isinstance(images, ImageProblem):
        return Failure(Side.CONFIGURATION, images.reason, images.message)
    owner = Owner(world.namespace, world.name, world.uid)
    config_map = scripts_config_map(owner, world.defaults.scripts)["metadata"]["name"]
    name = revision_name(wish)
    inputs = TemplateInputs(owner, world.spec, wish, name, images, config_map, world.pod_registry)
    number = max((r.number for r in course.revisions), default=0) + 1
    return Revision(name, number, wish, images, pod_template(inputs), config_map)


def _start(world: World, course: Course, wished: Revision, alias: str) -> Course:
    """Makes ``wished`` the candidate, once a slot is free and a withdrawn one has waited long enough."""
    memory = course.memory
    before = memory.candidate
    in_flight = before is not None and before.phase.in_flight
    attempts = _attempts(memory, wished)
    if before and before.revision == wished.name and not _due(world, before):
        return course
    if world.credentials_error:
        problem = Failure(Side.CONFIGURATION, "CredentialsMissing", world.credentials_error)
        return replace(course, problem=problem)
    if not world.slot_free and not in_flight:
        return _wait_for_slot(course, wished, alias, world.now)
    candidate = Candidate(
        wished.name, wished.wish.version, alias, world.now, Phase.APPLYING, attempts=attempts
    )
    what, came = _told(wished.wish.version, memory.serving)
    named = "" if alias == wished.wish.version else f" ({alias})"
    news = Announce(False, "RolloutStarted", f"{what}{named} is rolled out{came}")
    return replace(course, memory=replace(memory, candidate=candidate), news=(*course.news, news))


def _due(world: World, candidate: Candidate) -> bool:
    """Whether a candidate that is wanted still may start (again) now."""
    if candidate.phase in (Phase.WITHDRAWN, Phase.FAILED) and (_committed(world) or retry_asked(world)):
        return True
    if candidate.phase is Phase.WITHDRAWN:
        return candidate.retry_at is not None and world.now >= candidate.retry_at
    return candidate.phase is Phase.WAITING_FOR_SLOT


def _attempts(memory: Memory, wished: Revision) -> int:
    """The how manyth try of ``wished`` the next one is."""
    before, verdict = memory.candidate, wished.verdict
    if before and before.revision == wished.name:
        return before.attempts + (before.phase is not Phase.WAITING_FOR_SLOT)
    # the rejection itself may have been pardoned a moment ago
    return verdict.attempts + 1 if verdict and verdict.state is VerdictState.REJECTED else 1


def _wait_for_slot(course: Course, wished: Revision, alias: str, now: datetime) -> Course:
    before = course.memory.candidate
    if before and before.revision == wished.name and before.phase is Phase.WAITING_FOR_SLOT:
        return course
    waiting = Candidate(
        wished.name,
        wished.wish.version,
        alias,
        now,
        Phase.WAITING_FOR_SLOT,
        attempts=_attempts(course.memory, wished),
        reason="WaitingForSlot",
        message="as many rollouts as maxConcurrentRollouts allows are under way; this one comes next",
    )
    return replace(course, memory=replace(course.memory, candidate=waiting))


# --- odds and ends ---------------------------------------------------------------------------------


def _look_again(world: World, course: Course) -> timedelta | None:
    """How long until time alone can change the decision."""
    moments = []
    if candidate := course.memory.candidate:
        moments += [m for m in (candidate.deadline, candidate.retry_at) if m]
        if world.spec and candidate.phase.in_flight and course.memory.serving and not moments:
            latest = candidate.since + _time_for_a_pod(world.spec)
            moments += [latest] if latest > world.now else []
    waits = [max(m - world.now, timedelta(seconds=1)) for m in moments]
    if world.faults:
        waits.append(FAULT_RETRY)
    if course.problem and course.problem.reason == "CredentialsMissing":
        waits.append(FAULT_RETRY)
    if candidate and candidate.phase is Phase.WAITING_FOR_SLOT:
        waits.append(timedelta(seconds=5))
    return min(waits, default=None)
