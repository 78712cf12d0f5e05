"""The life of what serves: watched for a while after it went live, then settled; or sent back for the one before."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.domain.objects import applied_revision
from model_operator.domain.plan import Announce
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Candidate, Memory, Phase, Rejection, Serving, revert_target
from model_operator.domain.world import World
from model_operator.planner.decision import Course, ended, retry_delay, self_tested
from model_operator.planner.health import FAULTS, Failure, Watched, judge, self_test_outcome, watch
from model_operator.planner.revisions import shape_of, that_can_start
from model_operator.planner.strategy.tracks import available_replicas, pods_of, replicas_of, restored_track


def watch_serving(world: World, course: Course) -> Course:
    """Judges the serving revision while its watch lasts, and a restored one while its rejection is young."""
    memory, spec = course.memory, world.spec
    serving = memory.serving
    if serving is None or spec is None or (memory.candidate and memory.candidate.phase.carried):
        return course
    live = world.deployment(serving.track)
    if applied_revision(live) != serving.revision:
        return course  # it is still being put back
    serving = _with_self_test(world, course, serving)
    memory = replace(memory, serving=serving)
    course = course.remembering(memory)
    if serving.settled:
        return _watch_restored(world, course, serving)
    if replicas_of(live) == 0:
        return course.remembering(replace(memory, serving=replace(serving, watch_ends=None)))
    if serving.watch_ends is None:
        ends = world.now + timedelta(seconds=spec.rollout.watch_seconds)
        serving = replace(serving, watch_ends=ends)
    course = replace(course.remembering(replace(memory, serving=serving)), watched=serving.revision)
    seen = _watched(world, serving, serving.since)
    course = replace(course, look_at=seen.look_at, trouble=seen.trouble)
    if seen.failure:
        return _fail(world, course, serving, seen.failure)
    if serving.watch_ends and world.now >= serving.watch_ends:
        settled = replace(serving, settled=True, watch_ends=None, reason="", message="")
        news = Announce(False, "Settled", f"version {serving.version} outlived its watch")
        return replace(course.remembering(replace(course.memory, serving=settled), news), watched="")
    if serving.reason:
        course = course.remembering(replace(course.memory, serving=replace(serving, reason="", message="")))
    return course


def _with_self_test(world: World, course: Course, serving: Serving) -> Serving:
    """With the outcome of its self-test, which its pods tell: they may be seen long after their Deployment."""
    revision = course.revision(serving.revision)
    if serving.self_test or revision is None:
        return serving
    words = self_test_outcome(serving.revision, pods_of(world, serving.track))
    return replace(serving, self_test=self_tested(shape_of(revision.wish), words)) if words else serving


def _watched(world: World, serving: Serving, since: datetime) -> Watched:
    """What can be held against the serving revision since a moment."""
    return watch(
        serving.revision,
        world.deployment(serving.track),
        pods_of(world, serving.track),
        world.children.autoscaler,
        world.traffic,
        since,
        world.now,
    )


def _fail(world: World, course: Course, serving: Serving, failure: Failure) -> Course:
    """Goes back to the last revision that settled; without one, or where that is not wanted, only says so."""
    memory = course.memory
    target = revert_target(memory, course.revisions)
    never = world.spec is not None and world.spec.revert.policy == "Never"
    if target is None or never:
        why = "spec.revert.policy is Never" if never else "there is no earlier version to go back to"
        told = replace(
            serving, reason=failure.reason, message=f"{failure.message}; {why}, so nothing was changed"
        )
        news = [] if serving.reason == failure.reason else [Announce(True, failure.reason, told.message)]
        # the words of a failure may change with each look; the status need not
        kept = serving if serving.reason == failure.reason else told
        return course.remembering(replace(memory, serving=kept), *news)
    restored = that_can_start(world, course.revisions, target)
    if isinstance(restored, Revision):
        added = () if course.revision(restored.name) else (restored,)
        course, target = replace(course, revisions=(*course.revisions, *added)), restored
    # quarantined even where it may have been an accident: each further try would be one on live requests
    rejection = Rejection(
        serving.revision,
        serving.version,
        serving.alias,
        failure.side,
        failure.reason,
        failure.message,
        world.now,
        _attempts(memory, serving),
        served=True,
    )
    text = f"version {serving.version} failed after it went live ({failure.reason}); back to version "
    text += f"{target.wish.version}: {failure.message}"
    reverted = Memory(
        _restored(world, memory, target),
        None,
        (rejection, *(r for r in memory.rejected if r.revision != serving.revision)),
        ended(memory, world.now, failure.reason, failure.message),
    )
    return replace(course.remembering(reverted, Announce(True, "Reverted", text)), watched="")


def _restored(world: World, memory: Memory, target: Revision) -> Serving:
    past = next((p for p in memory.history if p.revision == target.name), None)
    return Serving(
        target.name,
        target.wish.version,
        past.alias if past else "",
        world.now,
        track=restored_track(world, memory, target.name),
        # a revert target is never reverted further
        settled=True,
    )


def _attempts(memory: Memory, serving: Serving) -> int:
    """The how manyth time it was live: it left before because it failed, as the history has it."""
    left = [p for p in memory.history if p.revision == serving.revision and p.reason in FAULTS]
    return len(left) + 1


def given_up_at(world: World, memory: Memory) -> datetime | None:
    """When the pods of what serves, none of which is available, will have missed a deadline."""
    serving, spec = memory.serving, world.spec
    if serving is None or spec is None:
        return None
    live = world.deployment(serving.track)
    if not replicas_of(live) or available_replicas(live):
        return None
    return judge(serving.revision, live, pods_of(world, serving.track), spec.rollout, world.now).deadline


# --- the restored revision ---------------------------------------------------------------------------


def restored_watch_ends(world: World, memory: Memory) -> datetime | None:
    """Until when the newest rejection may still turn out to be nobody's fault; None when it may not."""
    if world.spec is None or memory.serving is None or not memory.rejected:
        return None
    return memory.rejected[0].at + timedelta(seconds=world.spec.rollout.watch_seconds)


def _watch_restored(world: World, course: Course, serving: Serving) -> Course:
    """Takes a verdict back when the revision that was gone back to fails in the same way.

    Then it is not the version's doing, and it is tried again after a while, like after any fault of the
    environment.
    """
    memory = course.memory
    ends = restored_watch_ends(world, memory)
    if ends is None or world.now >= ends:
        return course
    rejection = memory.rejected[0]
    seen = _watched(world, serving, rejection.at)
    course = replace(course, watched=serving.revision, look_at=seen.look_at, trouble=seen.trouble)
    failure = seen.failure
    if failure is None or failure.reason != rejection.reason:
        return course
    text = (
        f"version {serving.version} fails in the same way as version {rejection.version} ({failure.reason}), so "
        f"that was not the version's fault: {failure.message}"
    )
    again = Candidate(
        rejection.revision,
        rejection.version,
        rejection.alias,
        world.now,
        Phase.WITHDRAWN,
        reason=rejection.reason,
        message=text,
        attempts=rejection.attempts,
        retry_at=world.now + retry_delay(rejection.attempts),
        track=serving.track,
    )
    taken_back = replace(memory, candidate=again, rejected=tuple(memory.rejected[1:]))
    return course.remembering(taken_back, Announce(True, "VerdictTakenBack", text))
