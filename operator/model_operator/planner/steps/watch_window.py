"""The watch window of the serving revision: it settles, or fails and the operator reverts to an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.domain.plan import Event
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import (
    Candidate,
    Phase,
    Rejection,
    RolloutState,
    Serving,
    revert_target,
    was_reverted_to,
)
from model_operator.domain.world import UNREAD_AFTER, World
from model_operator.planner.decision import Decision, append_history, describe_self_test, retry_delay
from model_operator.planner.health import (
    LONGEST_CALM,
    LOOP_SPAN,
    REASONS,
    CrashLoop,
    Failure,
    Load,
    ServingJudgement,
    find_calm,
    find_crash_loop,
    find_idle_autoscaler,
    judge_candidate_pods,
    judge_serving_pods,
    self_test_outcome,
)
from model_operator.planner.revisions import make_startable, read_pod_spec
from model_operator.planner.strategy.tracks import restored_track


def judge_serving(world: World, decision: Decision) -> Decision:
    """Judges the serving revision during its watch window.

    A settled revision is judged for ``watchSeconds`` after the newest rejection: if it fails in the same way, the
    verdict is removed.
    """
    state, spec = decision.state, world.spec
    serving = state.serving
    if serving is None or (state.candidate and state.candidate.phase.carried):
        return decision
    live = world.track(serving.track)
    if live.revision != serving.revision:
        return decision  # its track doesn't run it yet
    serving = _with_self_test(world, decision, serving)
    state = replace(state, serving=serving)
    decision = decision.with_state(state)
    if serving.settled:
        return _judge_settled(world, _judge_restored(world, decision, serving))
    if live.replicas == 0:
        return decision.with_state(replace(state, serving=replace(serving, watch_ends=None)))
    if serving.watch_ends is None:
        ends = world.now + timedelta(seconds=spec.rollout.watch_seconds)
        serving = replace(serving, watch_ends=ends)
    serving, *noticed = _with_reading(world, serving)
    decision = replace(
        decision.with_state(replace(state, serving=serving), *noticed), watched=serving.revision
    )
    seen = _judge_pods(world, serving, serving.since)
    decision = replace(decision, look_at=seen.look_at, trouble=seen.trouble)
    if seen.failure:
        return _fail(world, decision, serving, seen.failure)
    return _settle(world, decision, serving, pending=seen.look_at is not None)


def _settle(world: World, decision: Decision, serving: Serving, *, pending: bool) -> Decision:
    """Settles the revision at the end of its window, unless there is evidence against it.

    After a crash, the window lasts until the pods have been calm for as long as it took them to crash. ``watch_ends``
    keeps that, even if the pod is deleted. ``pending`` is whether a present problem may still become a failure.
    """
    watch = timedelta(seconds=world.spec.rollout.watch_seconds)
    calm = find_calm(serving.revision, world.track(serving.track), serving.since, watch)
    if calm and watch:
        ends = max(calm.at, serving.watch_ends or calm.at)
        serving = replace(serving, watch_ends=ends)
        decision = replace(decision, trouble=decision.trouble or calm.crash)
        pending = pending or calm.down
    if serving.watch_ends and world.now >= serving.watch_ends and not pending:
        settled = replace(serving, settled=True, watch_ends=None, reason="", message="")
        text = f"version {serving.version} passed its watch window"
        text += ". Its 5xx answers were not judged" if serving.errors_not_judged else ""
        event = Event(False, "Settled", text)
        decision = replace(decision, watched="", trouble=None if calm else decision.trouble)
        return decision.with_state(replace(decision.state, serving=settled), event)
    return decision.with_state(replace(decision.state, serving=replace(serving, reason="", message="")))


def serving_moments(world: World, decision: Decision) -> Iterator[datetime]:
    """When the watch window ends, or a problem of the serving revision or its autoscaler has lasted long enough."""
    serving = decision.state.serving
    moments = [serving.watch_ends, _find_deadline(world, serving)] if serving else []
    moments.append(decision.look_at)
    if decision.watched:
        moments.append(_find_restored_window_end(world, decision.state))
    if world.spec.autoscaling and (idle := find_idle_autoscaler(world.children.autoscaler)):
        moments.append(idle.report_at)
    yield from (moment for moment in moments if moment)


def _with_self_test(world: World, decision: Decision, serving: Serving) -> Serving:
    """Adds the self-test's outcome from its pods. The cache may have the pods long after their Deployment."""
    revision = decision.revision(serving.revision)
    if serving.self_test or revision is None:
        return serving
    words = self_test_outcome(serving.revision, world.track(serving.track).pods)
    return (
        replace(serving, self_test=describe_self_test(read_pod_spec(revision.target), words))
        if words
        else serving
    )


def _with_reading(world: World, serving: Serving) -> tuple[Serving, *tuple[Event, ...]]:
    """Notes whether the 5xx answers can be counted, with an event if they can't. Without news, nothing changes.

    A new process of the operator has no news for a while, so the status keeps the last one.
    """
    traffic = world.traffic
    if traffic.read:
        return (replace(serving, errors_not_judged="", errors_not_judged_since=None),)
    if not traffic.unread or serving.errors_not_judged:
        return (serving,)
    text = f"the metrics of its pods can't be read ({traffic.unread}), so 5xx answers do not count"
    since = max(serving.since, world.now - UNREAD_AFTER)
    event = Event(False, "ErrorsNotJudged", f"version {serving.version}: {text}")
    return replace(serving, errors_not_judged=text, errors_not_judged_since=since), event


def _judge_pods(world: World, serving: Serving, since: datetime) -> ServingJudgement:
    """Judges the pods of the serving revision by everything that happened after ``since``."""
    load = Load(world.traffic, world.children.autoscaler)
    return judge_serving_pods(serving.revision, world.track(serving.track), load, since, world.now)


def _fail(world: World, decision: Decision, serving: Serving, failure: Failure, kept: str = "") -> Decision:
    """Reverts to the last settled revision, or else to the last one that was live.

    It only reports the failure without an earlier revision, with ``revert.policy`` Never, or for the reason ``kept``.
    """
    state = decision.state
    earlier = revert_target(state, decision.revisions)
    if world.spec.revert.policy == "Never":
        kept = "spec.revert.policy is Never"
    elif earlier is None:
        kept = "there is no earlier version to revert to"
    if kept or earlier is None:
        return _report(decision, serving, failure, f"Nothing was changed, because {kept}")
    restored = make_startable(world, decision.revisions, earlier)
    if isinstance(restored, Revision):
        added = () if decision.revision(restored.name) else (restored,)
        decision, earlier = replace(decision, revisions=(*decision.revisions, *added)), restored
    # rejected even if it may have been an accident: each retry would be one on live requests
    rejection = Rejection(
        serving.revision,
        serving.version,
        serving.alias,
        failure.side,
        failure.reason,
        failure.message,
        world.now,
        _count_attempts(state, serving),
        served=True,
    )
    text = f"version {serving.version} failed after it went live ({failure.reason}), reverted to "
    text += f"version {earlier.target.version}: {failure.message}"
    reverted = RolloutState(
        _restore(world, state, earlier),
        None,
        (rejection, *(r for r in state.rejected if r.revision != serving.revision)),
        append_history(state, world.now, failure.reason, failure.message),
    )
    return replace(decision.with_state(reverted, Event(True, "Reverted", text)), watched="")


def _report(decision: Decision, serving: Serving, failure: Failure, consequence: str) -> Decision:
    """Reports the failure of a revision that keeps serving, with an event if it is a new one."""
    if serving.reason == failure.reason:
        # the message may change with each reconcile, and the status must not change with it
        return decision.with_state(replace(decision.state, serving=serving))
    reported = replace(serving, reason=failure.reason, message=f"{failure.message}. {consequence}")
    # RevertBlocked has an event of its own
    events = [] if was_reverted_to(decision.state) else [Event(True, failure.reason, reported.message)]
    return decision.with_state(replace(decision.state, serving=reported), *events)


def _restore(world: World, state: RolloutState, earlier: Revision) -> Serving:
    departed = next((p for p in state.history if p.revision == earlier.name), None)
    return Serving(
        earlier.name,
        earlier.target.version,
        departed.alias if departed else "",
        world.now,
        track=restored_track(world, state, earlier.name),
        # the operator never reverts a revision that it has reverted to
        settled=True,
    )


def _count_attempts(state: RolloutState, serving: Serving) -> int:
    """How often the revision failed after it went live: the failures in the history, and this one."""
    left = [p for p in state.history if p.revision == serving.revision and p.reason in REASONS]
    return len(left) + 1


def _find_deadline(world: World, serving: Serving) -> datetime | None:
    """When the serving pods, none of which is available, will miss a deadline. None if one is available."""
    live = world.track(serving.track)
    if not live.replicas or live.available:
        return None
    return judge_candidate_pods(serving.revision, live, world.spec.rollout, world.now).deadline


# --- the restored revision ---------------------------------------------------------------------------


def _find_restored_window_end(world: World, state: RolloutState) -> datetime | None:
    """Until when the newest verdict may be removed. None if no revision serves, or none was rejected."""
    if state.serving is None or not state.rejected:
        return None
    return state.rejected[0].at + timedelta(seconds=world.spec.rollout.watch_seconds)


def _judge_restored(world: World, decision: Decision, serving: Serving) -> Decision:
    """Removes the newest verdict if the serving revision then fails with the same reason.

    The rejected version is then not at fault. It becomes a withdrawn candidate and is retried after a delay, as
    after any failure of the environment.
    """
    state = decision.state
    ends = _find_restored_window_end(world, state)
    if ends is None or world.now >= ends:
        return decision
    rejection = state.rejected[0]
    seen = _judge_pods(world, serving, rejection.at)
    decision = replace(decision, watched=serving.revision, look_at=seen.look_at, trouble=seen.trouble)
    failure = seen.failure
    if failure is None or failure.reason != rejection.reason:
        return decision
    text = (
        f"version {serving.version} fails in the same way as version {rejection.version} ({failure.reason}), so "
        f"version {rejection.version} is not at fault: {failure.message}"
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
    taken_back = replace(state, candidate=again, rejected=tuple(state.rejected[1:]))
    return decision.with_state(taken_back, Event(True, "VerdictTakenBack", text))


# --- after the watch window --------------------------------------------------------------------------


def _judge_settled(world: World, decision: Decision) -> Decision:
    """Reports a settled revision that is in a crash loop without a ready pod, and reverts it if the spec allows that.

    The report stays until the pods have been calm for as long as it took them to crash, so it does not come and go
    with each restart.
    """
    serving = decision.state.serving
    if serving is None:
        return decision
    live = world.track(serving.track)
    if loop := find_crash_loop(serving.revision, live, world.now):
        return _fail(
            world, decision, serving, loop.failure, _find_reason_to_stay(world, decision.state, loop)
        )
    if not serving.reason:
        return decision
    calm = find_calm(serving.revision, live, world.now - LOOP_SPAN, LONGEST_CALM)
    over = live.available > 0 if calm is None else not calm.down and world.now >= calm.at
    if over or live.replicas == 0:
        well = replace(serving, reason="", message="")
        return decision.with_state(replace(decision.state, serving=well))
    moments = [m for m in (decision.look_at, calm.at if calm else None) if m and m > world.now]
    return replace(decision, look_at=min(moments, default=None))


def _find_reason_to_stay(world: World, state: RolloutState, loop: CrashLoop) -> str:
    """Why a settled revision in a crash loop is not reverted. Empty if it may be."""
    if was_reverted_to(state):
        return "the operator has already reverted to this version and does not revert further"
    if world.spec.revert.after_watch == "Never":
        return "the version has passed its watch window, and spec.revert.afterWatch is Never"
    if not loop.by_itself:
        return "more requests, a full node or a changed environment can also be the cause"
    return ""
