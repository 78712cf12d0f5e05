"""The rollout of a candidate. Its pods decide: it goes live, is rejected, or is withdrawn without a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.api.spec import ModelDeploymentSpec
from model_operator.domain.objects import Kind
from model_operator.domain.plan import Event
from model_operator.domain.revision import Side
from model_operator.domain.rollout import REPLACED, Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import RefusalKind, World
from model_operator.planner.annotations import read_request
from model_operator.planner.decision import (
    ATTEMPTS,
    Decision,
    append_history,
    costs_a_serving_pod,
    describe_self_test,
    retry_delay,
    rollout_phrase,
    without_watch_window,
)
from model_operator.planner.health import MESSAGE_LIMIT, REASONS, Failure, Judgement, judge_candidate_pods
from model_operator.planner.health import failure as health_failure
from model_operator.planner.strategy.base import Hold
from model_operator.planner.strategy.strategies import followed_strategy, is_approved_before_traffic
from model_operator.planner.strategy.tracks import deployment_name, desired_replicas, preview_name
from model_operator.planner.target import find_held_revision


def judge_candidate(world: World, decision: Decision) -> Decision:
    """Judges the candidate by its pods, if a Deployment runs it, and ends or continues the rollout."""
    candidate = decision.state.candidate
    if candidate is None or not candidate.phase.carried:
        return decision
    judgement = judge_candidate_pods(
        candidate.revision, world.track(candidate.track), world.spec.rollout, world.now
    )
    decision = replace(decision, judgement=judgement)
    if judgement.live and _as_big_as_needed(world, decision.state, candidate):
        if _waits_for_traffic(world, decision, candidate):
            return _show(world, decision, candidate)
        if hold := _find_hold(world, decision, candidate):
            return _hold(decision, candidate, hold)
        return _go_live(world, decision, candidate, judgement)
    if candidate.phase is Phase.FAILED:
        return decision  # the kubelet keeps trying, but the verdict stays
    stuck = _stuck(world, decision, judgement)
    failure = stuck or judgement.failure
    if failure and (stuck or failure.side is Side.ENVIRONMENT):
        return withdraw(world, decision, candidate, failure)
    if failure:
        return reject(world, decision, candidate, failure)
    moved = replace(
        candidate,
        phase=judgement.phase,
        reason=judgement.hint,
        message=judgement.message,
        deadline=judgement.deadline,
    )
    return decision.with_state(replace(decision.state, candidate=moved))


def candidate_moments(world: World, decision: Decision) -> Iterator[datetime]:
    """When the candidate misses the deadline of a phase, or of all phases of a pod together."""
    candidate = decision.state.candidate
    if candidate is None:
        return
    if candidate.deadline:
        yield candidate.deadline
    if decision.judgement and decision.judgement.look_at:
        yield decision.judgement.look_at
    if candidate.phase.in_flight and decision.state.serving and candidate.phase is not Phase.ROLLING:
        yield candidate.since + time_for_a_pod(world.spec)


def judge_refused_template(world: World, decision: Decision) -> Decision:
    """Rejects a candidate whose pod template the API server rejected as invalid: the spec is at fault.

    The Deployment still has the previous template. After any other refusal the write is retried.
    """
    candidate = decision.state.candidate
    if candidate is None or not candidate.phase.in_flight:
        return decision
    if world.track(candidate.track).revision == candidate.revision:
        return decision
    for refused in world.refused_writes:
        if (
            refused.ref != world.ref(Kind.DEPLOYMENT, deployment_name(world, candidate.track))
            or refused.kind is RefusalKind.NAME_TAKEN
        ):
            continue
        message = f"the API server rejected the pod template: {refused.message}"
        if refused.kind is RefusalKind.INVALID:
            return reject(world, decision, candidate, health_failure("FieldRefused", message))
        # a policy or a quota may allow it later, and nothing has moved yet, so a retry costs nothing
        held_up = replace(candidate, reason="Refused", message=message)
        return decision.with_state(replace(decision.state, candidate=held_up))
    return decision


def time_for_a_pod(spec: ModelDeploymentSpec) -> timedelta:
    """How long one pod may take for scheduling, fetch and startup together."""
    limits = spec.rollout
    return timedelta(seconds=limits.scheduling_seconds + limits.fetch_seconds + limits.startup_seconds)


def _stuck(world: World, decision: Decision, judgement: Judgement) -> Failure | None:
    """The failure of a candidate that has had no ready pod for the time of all phases.

    It covers pods that are replaced again and again, by evictions for example: each new pod starts with new deadlines.
    """
    candidate, spec = decision.state.candidate, world.spec
    if candidate is None or decision.state.serving is None or judgement.live:
        return None
    time = time_for_a_pod(spec)
    if judgement.failure or judgement.phase is Phase.ROLLING or world.now < candidate.since + time:
        return None
    message = f"no pod became ready within {time.total_seconds():.0f} s: {judgement.message}"
    known = REASONS.get(judgement.hint)
    if known and known.side is Side.ENVIRONMENT:
        return replace(health_failure(judgement.hint), message=message[:MESSAGE_LIMIT])
    # the hint may concern any side, but a rollout without progress is a fault of the environment
    return health_failure("NoProgress", message)


def _as_big_as_needed(world: World, state: RolloutState, candidate: Candidate) -> bool:
    """Whether the candidate's track has enough replicas: beside a serving track, as many as that one should have."""
    if state.serving is None or candidate.track == state.serving.track:
        return True
    return world.track(candidate.track).replicas >= desired_replicas(world, state.serving)


# --- approval --------------------------------------------------------------------------------------


def is_approved(spec: ModelDeploymentSpec, version: str, revision: str) -> bool:
    """Whether ``gates.approval.approved`` names that version or revision, or no approval is required."""
    approval = spec.gates.approval
    return approval.mode == "Automatic" or approval.approved in (version, revision)


def _waits_for_traffic(world: World, decision: Decision, candidate: Candidate) -> bool:
    """Whether a candidate without requests waits for an approval. A revision that a person holds needs none."""
    spec, serving = world.spec, decision.state.serving
    if is_approved(spec, candidate.version, candidate.revision):
        return False
    if _is_held(world, decision, candidate):
        return False
    # a commit that changes approval.at must not let a waiting candidate pass
    hidden = is_approved_before_traffic(spec)
    return hidden or _is_beside(serving, candidate) or candidate.phase is Phase.READY


def _is_held(world: World, decision: Decision, candidate: Candidate) -> bool:
    """Whether a person holds it by the annotation revert."""
    held = find_held_revision(decision.revisions, read_request(world, "revert"))
    return held is not None and held.name == candidate.revision


def _show(world: World, decision: Decision, candidate: Candidate) -> Decision:
    message = (
        f"all pods are ready and get no requests yet. Test them through the Service {preview_name(world)}, then "
        f'set spec.gates.approval.approved to "{candidate.version}" to move the traffic'
    )
    shown = replace(candidate, phase=Phase.READY, reason="WaitingForApproval", message=message, deadline=None)
    events = []
    if candidate.phase is not Phase.READY:
        events = [Event(False, "WaitingForApproval", f"version {candidate.version}: {message}")]
    return decision.with_state(replace(decision.state, candidate=shown), *events)


# --- the hold of a strategy ------------------------------------------------------------------------


def _is_beside(serving: Serving | None, candidate: Candidate) -> bool:
    """Whether the candidate runs on another track than the serving revision."""
    return serving is not None and candidate.track != serving.track


def _find_hold(world: World, decision: Decision, candidate: Candidate) -> Hold | None:
    """The reason why its strategy delays going live. None if there is none, or if a person holds the candidate."""
    if _is_held(world, decision, candidate):
        return None
    strategy = followed_strategy(world.spec, beside=_is_beside(decision.state.serving, candidate))
    return strategy.hold(world, candidate)


def _hold(decision: Decision, candidate: Candidate, hold: Hold) -> Decision:
    held = replace(
        candidate, phase=Phase.READY, reason=hold.reason, message=hold.message, deadline=hold.until
    )
    events = []
    if (candidate.phase, candidate.reason) != (Phase.READY, hold.reason):
        events = [Event(False, hold.reason, f"version {candidate.version}: {hold.message}")]
    return decision.with_state(replace(decision.state, candidate=held), *events)


# --- how it ends -----------------------------------------------------------------------------------


def _go_live(world: World, decision: Decision, candidate: Candidate, judgement: Judgement) -> Decision:
    """The candidate becomes the serving revision, and its watch window begins."""
    state, spec = decision.state, world.spec
    before = state.serving
    empty = world.track(candidate.track).replicas == 0
    window = timedelta(seconds=spec.rollout.watch_seconds)
    serving = Serving(
        candidate.revision,
        candidate.version,
        candidate.alias,
        world.now,
        "" if empty else describe_self_test(spec, judgement.self_test),
        track=candidate.track,
        # there is nothing to watch without pods, so the watch window begins with the first one
        settled=not window and not empty,
        watch_ends=None if empty or not window else world.now + window,
    )
    took = int((world.now - candidate.since).total_seconds())
    what, came = rollout_phrase(candidate.version, before)
    text = f"{what} serves{came}, {took} s after its rollout began"
    if empty:
        text = f"{what} is set{came}, untested: there are 0 replicas"
    rejected = tuple(r for r in state.rejected if r.revision != candidate.revision)
    by = f"by {what}"
    if _is_held(world, decision, candidate):
        by += ", held by the annotation revert"
    history = append_history(state, world.now, REPLACED, by)
    return decision.with_state(
        RolloutState(serving, None, rejected, history), Event(False, "RolledOut", text)
    )


def reject(world: World, decision: Decision, candidate: Candidate, failure: Failure) -> Decision:
    """Records the verdict and drops the candidate, so that the serving revision is restored.

    The candidate stays as Failed if no revision serves, or if ``revert.policy`` is Never. A failure that may have
    been an accident gets a time for the next attempt.
    """
    state = decision.state
    again = _find_retry_delay(world, state, candidate, failure)
    message = failure.message
    if not failure.definite and again is None and state.serving and candidate.attempts >= ATTEMPTS:
        message += f" (tried {candidate.attempts} times)"
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
    rejected = (rejection, *(r for r in state.rejected if r.revision != candidate.revision))
    never = world.spec.revert.policy == "Never"
    if state.serving and not never:
        what, came = rollout_phrase(candidate.version, state.serving)
        back = f"version {state.serving.version}" if came else "the previous spec"
        text = f"{what} failed ({failure.reason}), reverted to {back}: {failure.message}"
        kept = replace(state, candidate=None, rejected=rejected)
        return decision.with_state(kept, Event(True, "Reverted", text))
    failed = replace(
        candidate,
        phase=Phase.FAILED,
        reason=failure.reason,
        message=failure.message,
        deadline=None,
        retry_at=None,
    )
    why = "there is no earlier version to revert to"
    if state.serving:
        why = "spec.revert.policy is Never, so it is left in place"
    text = f"version {candidate.version} failed and {why}: {failure.message}"
    kept = replace(state, candidate=failed, rejected=rejected)
    return decision.with_state(kept, Event(True, failure.reason, text))


def _find_retry_delay(
    world: World, state: RolloutState, candidate: Candidate, failure: Failure
) -> timedelta | None:
    """The delay until a failure that may have been an accident is retried. None: it isn't retried."""
    if failure.definite or state.serving is None or candidate.attempts >= ATTEMPTS:
        return None
    never = world.spec.revert.policy == "Never"
    if never or costs_a_serving_pod(world, state, candidate.track):
        return None
    return retry_delay(candidate.attempts)


def withdraw(world: World, decision: Decision, candidate: Candidate, failure: Failure) -> Decision:
    """Ends the rollout without a verdict and schedules the next attempt.

    The candidate stays in place if no other revision serves.
    """
    state = decision.state
    if state.serving is None:
        phase = decision.judgement.phase if decision.judgement else candidate.phase
        waiting = replace(
            candidate, phase=phase, reason=failure.reason, message=failure.message, deadline=None
        )
        return decision.with_state(replace(state, candidate=waiting))
    message = failure.message
    # without a surge each attempt takes away a serving pod, so only a person starts the next one
    retried = not costs_a_serving_pod(world, state, candidate.track)
    if not retried:
        message += (
            ". It isn't retried automatically, because with rollout.maxSurge 0 each attempt takes away a serving pod. "
            "Any change of the spec retries it"
        )
    withdrawn = replace(
        candidate,
        phase=Phase.WITHDRAWN,
        reason=failure.reason,
        message=message,
        deadline=None,
        retry_at=world.now + retry_delay(candidate.attempts) if retried else None,
    )
    what, _ = rollout_phrase(candidate.version, state.serving)
    text = f"{what} is withdrawn for now ({failure.reason}), the serving revision stays: {message}"
    kept = replace(state, candidate=withdrawn, serving=without_watch_window(state.serving))
    return decision.with_state(kept, Event(True, "Withdrawn", text))
