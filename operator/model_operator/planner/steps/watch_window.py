"""The watch window of the serving revision: it settles, or fails and the operator reverts to an earlier one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.domain.plan import Event
from model_operator.domain.revision import Revision
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving, revert_target
from model_operator.domain.world import World
from model_operator.planner.decision import Decision, append_history, describe_self_test, retry_delay
from model_operator.planner.health import (
    REASONS,
    Failure,
    Load,
    ServingJudgement,
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
        return _judge_restored(world, decision, serving)
    if live.replicas == 0:
        return decision.with_state(replace(state, serving=replace(serving, watch_ends=None)))
    if serving.watch_ends is None:
        ends = world.now + timedelta(seconds=spec.rollout.watch_seconds)
        serving = replace(serving, watch_ends=ends)
    decision = replace(decision.with_state(replace(state, serving=serving)), watched=serving.revision)
    seen = _judge_pods(world, serving, serving.since)
    decision = replace(decision, look_at=seen.look_at, trouble=seen.trouble)
    if seen.failure:
        return _fail(world, decision, serving, seen.failure)
    if serving.watch_ends and world.now >= serving.watch_ends:
        settled = replace(serving, settled=True, watch_ends=None, reason="", message="")
        event = Event(False, "Settled", f"version {serving.version} passed its watch window")
        return replace(decision.with_state(replace(decision.state, serving=settled), event), watched="")
    if serving.reason:
        decision = decision.with_state(
            replace(decision.state, serving=replace(serving, reason="", message=""))
        )
    return decision


def serving_moments(world: World, decision: Decision) -> Iterator[datetime]:
    """When the watch window ends, or a problem of the serving revision becomes a failure."""
    serving = decision.state.serving
    moments = [serving.watch_ends, _find_deadline(world, serving)] if serving else []
    if decision.watched:
        moments += [_find_restored_window_end(world, decision.state), decision.look_at]
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


def _judge_pods(world: World, serving: Serving, since: datetime) -> ServingJudgement:
    """Judges the pods of the serving revision by everything that happened after ``since``."""
    load = Load(world.traffic, world.children.autoscaler)
    return judge_serving_pods(serving.revision, world.track(serving.track), load, since, world.now)


def _fail(world: World, decision: Decision, serving: Serving, failure: Failure) -> Decision:
    """Reverts to the last settled revision, or else to the last one that was live.

    Without an earlier revision, or with ``revert.policy`` Never, it only reports the failure.
    """
    state = decision.state
    earlier = revert_target(state, decision.revisions)
    never = world.spec.revert.policy == "Never"
    if earlier is None or never:
        why = "spec.revert.policy is Never" if never else "there is no earlier version to revert to"
        message = f"{failure.message}. Nothing was changed, because {why}"
        reported = replace(serving, reason=failure.reason, message=message)
        events = [] if serving.reason == failure.reason else [Event(True, failure.reason, reported.message)]
        # the message may change with each reconcile, and the status must not change with it
        kept = serving if serving.reason == failure.reason else reported
        return decision.with_state(replace(state, serving=kept), *events)
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
