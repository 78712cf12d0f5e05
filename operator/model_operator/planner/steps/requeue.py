"""When to look again, because time alone can change the decision."""

from __future__ import annotations

from datetime import datetime, timedelta

from model_operator.domain.rollout import Phase
from model_operator.domain.world import World
from model_operator.planner.decision import Decision
from model_operator.planner.steps.candidate import time_for_a_pod
from model_operator.planner.steps.watch_window import find_deadline, find_restored_window_end
from model_operator.planner.strategy.tracks import warm_until

REFUSAL_RETRY = timedelta(seconds=30)
SLOT_RETRY = timedelta(minutes=1)
"""Who waits for a slot is called when one comes free; this is for the case that the call was lost."""


def look_again(world: World, decision: Decision) -> timedelta | None:
    """How long until time alone can change the decision."""
    moments: list[datetime] = []
    state = decision.state
    if candidate := state.candidate:
        moments += [m for m in (candidate.deadline, candidate.retry_at) if m]
        if (
            world.spec
            and candidate.phase.in_flight
            and state.serving
            and candidate.phase is not Phase.ROLLING
        ):
            moments.append(candidate.since + time_for_a_pod(world.spec))
    if (serving := state.serving) and world.spec:
        moments += [serving.watch_ends] if serving.watch_ends else []
        moments += [m for m in (find_deadline(world, state),) if m]
        if len(world.children.deployments) > 1:
            moments.append(warm_until(world.spec, serving))
    for revision in (decision.desired, decision.interim):
        if revision and (rejection := state.rejection_of(revision.name)) and rejection.retry_at:
            moments.append(rejection.retry_at)
    if decision.watched:
        moments += [m for m in (find_restored_window_end(world, state), decision.look_at) if m]
    # what is due now and could not be done waits for something else than time
    waits = [m - world.now for m in moments if m > world.now]
    if world.refused_writes:
        waits.append(REFUSAL_RETRY)
    if decision.problem and decision.problem.reason == "CredentialsMissing":
        waits.append(REFUSAL_RETRY)
    if candidate and candidate.phase is Phase.WAITING_FOR_SLOT:
        waits.append(SLOT_RETRY)
    return min(waits, default=None)
