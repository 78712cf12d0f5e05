"""The start of a rollout: the desired revision becomes the candidate, or waits for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.domain.plan import Event
from model_operator.domain.revision import Revision, Side, VerdictState
from model_operator.domain.rollout import Candidate, Phase, Rejection, RolloutState, Serving
from model_operator.domain.world import World
from model_operator.planner.decision import Decision, rollout_phrase, without_rejection, without_watch_window
from model_operator.planner.health import Failure
from model_operator.planner.steps.admission import admit, turn_away
from model_operator.planner.steps.candidate import is_approved
from model_operator.planner.steps.desired import find_desired, find_interim
from model_operator.planner.strategy.strategies import is_approved_before_traffic
from model_operator.planner.strategy.tracks import candidate_track, is_still_reached

SLOT_RETRY = timedelta(minutes=1)
"""A free slot wakes the waiting rollouts. This poll is for the case that the signal was lost."""
CREDENTIALS_RETRY = timedelta(seconds=30)


def follow_target(world: World, decision: Decision) -> Decision:
    """Starts, replaces or drops the candidate so that the desired revision becomes the serving one."""
    decision = find_desired(world, decision)
    state, desired = decision.state, decision.desired
    if desired is None:
        return decision  # a rollout under way continues, but no new one starts on an unknown target
    agreed = _is_agreed(world, decision, desired)
    candidate = state.candidate
    if candidate and candidate.phase is Phase.FAILED and candidate.revision == desired.name and state.serving:
        # it stays in place (revert.policy Never) until a person or a commit retries it
        return _start(world, decision, desired, agreed=agreed)
    if state.serving and decision.is_served:
        return _drop_candidate(decision, replace(state.serving, alias=world.spec.model.reference().display))
    rejection = state.rejection_of(desired.name)
    if state.serving and rejection and not _may_retry(world, rejection):
        decision = _start_interim(world, decision)
        return decision if decision.interim else _drop_candidate(decision, state.serving)
    decision = admit(world, decision, desired)
    kept_out = decision.admission if decision.admission and not decision.admission.admitted else None
    refused = kept_out is not None and kept_out.refusal is not None
    if refused or not (kept_out or agreed):
        decision = _start_interim(world, decision)
        if decision.interim:
            return decision
    return turn_away(decision, kept_out) if kept_out else _start(world, decision, desired, agreed=agreed)


def start_moments(world: World, decision: Decision) -> Iterator[datetime]:
    """When a waiting, withdrawn or rejected revision may be tried."""
    candidate, problem = decision.state.candidate, decision.problem
    if candidate and candidate.retry_at:
        yield candidate.retry_at
    if candidate and candidate.phase is Phase.WAITING_FOR_SLOT:
        yield world.now + SLOT_RETRY
    for revision in (decision.desired, decision.interim):
        if revision and (rejection := decision.state.rejection_of(revision.name)) and rejection.retry_at:
            yield rejection.retry_at
    if problem and problem.reason == "CredentialsMissing":
        yield world.now + CREDENTIALS_RETRY


def _start_interim(world: World, decision: Decision) -> Decision:
    """Applies a commit to the serving version while the desired version may not start.

    ``decision.interim`` stays None if there is nothing to apply.
    """
    decision = find_interim(world, decision)
    state = decision.state
    if decision.interim is None or state.serving is None:
        return decision
    rejection = state.rejection_of(decision.interim.name)
    if rejection and not _may_retry(world, rejection):
        return _drop_candidate(decision, state.serving)
    return _start(world, decision, decision.interim, agreed=_is_agreed(world, decision, decision.interim))


def _drop_candidate(decision: Decision, serving: Serving) -> Decision:
    """Drops the candidate, if any, and keeps ``serving`` as the serving revision."""
    state = decision.state
    kept = replace(state, candidate=None, serving=serving)
    if state.candidate is None:
        return decision.with_state(kept)
    text = (
        f"version {state.candidate.version} is no longer wanted, so version {serving.version} keeps serving"
    )
    return decision.with_state(kept, Event(False, "RolloutCancelled", text))


def _start(world: World, decision: Decision, desired: Revision, *, agreed: bool) -> Decision:
    """Makes ``desired`` the candidate.

    It starts after its retry delay, when it is approved (``agreed``), the Service's endpoints have left its track, and
    a slot is free.
    """
    state, alias = decision.state, world.spec.model.reference().display
    before = state.candidate
    in_flight = before is not None and before.phase.in_flight
    if before and before.revision == desired.name and not _may_start(world, before):
        return decision
    if world.credentials_error:
        problem = Failure(Side.CONFIGURATION, "CredentialsMissing", world.credentials_error)
        return replace(decision, problem=problem)
    attempts = _count_attempts(state, desired)
    # a revision can't be rejected while it is being retried
    state = without_rejection(decision, desired.name)
    decision = replace(decision, state=state)
    track = candidate_track(world, state)
    waiting = Candidate(
        desired.name,
        desired.target.version,
        alias,
        world.now,
        Phase.WAITING_FOR_SLOT,
        attempts=attempts,
        track=track,
    )
    if not agreed:
        return _wait(decision, _for_approval(waiting))
    elsewhere = state.serving is not None and state.serving.track != track
    if elsewhere and not in_flight and is_still_reached(world, state, track):
        return _wait(decision, _for_the_endpoints(waiting))
    if not world.slot_free and not in_flight:
        return _wait(decision, _for_a_slot(waiting))
    candidate = replace(waiting, phase=Phase.APPLYING)
    what, came = rollout_phrase(desired.target.version, state.serving)
    named = "" if alias == desired.target.version else f" ({alias})"
    if decision.desired and desired is decision.interim:
        named = f", while version {decision.desired.target.version} ({alias}) may not start,"
    if decision.held:
        named = " (held by the annotation revert)"
    event = Event(False, "RolloutStarted", f"{what}{named} is being rolled out{came}")
    kept = replace(state, candidate=candidate, serving=without_watch_window(state.serving))
    return replace(decision.with_state(kept, event), watched="")


def _may_start(world: World, candidate: Candidate) -> bool:
    """Whether a candidate for the desired revision may start now."""
    if candidate.phase in (Phase.WITHDRAWN, Phase.FAILED):
        return candidate.retry_at is not None and world.now >= candidate.retry_at
    return candidate.phase in (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_APPROVAL)


def _may_retry(world: World, rejection: Rejection) -> bool:
    return rejection.retry_at is not None and world.now >= rejection.retry_at


def _count_attempts(state: RolloutState, desired: Revision) -> int:
    """The number of the next attempt of ``desired``, counted from 1."""
    before, verdict = state.candidate, desired.verdict
    waiting = (Phase.WAITING_FOR_SLOT, Phase.WAITING_FOR_APPROVAL)
    if before and before.revision == desired.name:
        return before.attempts + (before.phase not in waiting)
    # the rejection in the state may have been removed a moment ago
    return verdict.attempts + 1 if verdict and verdict.state is VerdictState.REJECTED else 1


def _is_agreed(world: World, decision: Decision, revision: Revision) -> bool:
    """Whether the revision needs no approval before it starts. A revision that a person holds needs none."""
    later = is_approved_before_traffic(world.spec)
    return later or decision.held or is_approved(world.spec, revision.target.version, revision.name)


def _for_approval(candidate: Candidate) -> Candidate:
    text = f'approval is missing: set spec.gates.approval.approved to "{candidate.version}"'
    return replace(candidate, phase=Phase.WAITING_FOR_APPROVAL, reason="WaitingForApproval", message=text)


def _for_a_slot(candidate: Candidate) -> Candidate:
    text = "maxConcurrentRollouts is reached. This rollout waits for a free slot"
    return replace(candidate, reason="WaitingForSlot", message=text)


def _for_the_endpoints(candidate: Candidate) -> Candidate:
    text = (
        "the Service has just moved. The rollout starts when the pods that it replaces get no more requests"
    )
    return replace(candidate, reason="Switching", message=text)


def _wait(decision: Decision, waiting: Candidate) -> Decision:
    before = decision.state.candidate
    if before and (before.revision, before.phase) == (waiting.revision, waiting.phase):
        return decision
    events = []
    if waiting.phase is Phase.WAITING_FOR_APPROVAL:
        events = [Event(False, "WaitingForApproval", f"version {waiting.version}: {waiting.message}")]
    return decision.with_state(replace(decision.state, candidate=waiting), *events)
