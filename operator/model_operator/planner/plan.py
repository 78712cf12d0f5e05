"""The whole rollout: ``plan(world)`` returns the next actions and the status. Pure.

Read ``plan`` from top to bottom. Cases without a decision return first. Then the steps decide one after the other, and
the decision becomes actions on the child objects. The plan does not depend on the event that triggered it: the same
world always gives the same plan. The steps are in ``steps``, the requests by annotation in ``annotations``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from model_operator.domain.plan import Plan
from model_operator.domain.rollout import Candidate, RolloutState
from model_operator.domain.world import World
from model_operator.planner.annotations import read_unanswered
from model_operator.planner.children.actions import child_actions, child_moments
from model_operator.planner.children.ownership import ownership_of
from model_operator.planner.decision import Decision, Step
from model_operator.planner.state import load
from model_operator.planner.status import report
from model_operator.planner.status.events import events_for
from model_operator.planner.status.registry_tags import registry_tags
from model_operator.planner.steps.candidate import candidate_moments, judge_candidate, judge_refused_template
from model_operator.planner.steps.desired import find_kept_desired
from model_operator.planner.steps.rejections import forgive_configuration_rejections
from model_operator.planner.steps.start import follow_target, start_moments
from model_operator.planner.steps.watch_window import judge_serving, serving_moments

GARBAGE_WAIT = timedelta(seconds=3)


def _answer_adoption(world: World, decision: Decision) -> Decision:
    value = read_unanswered(world, "adopt")
    return decision.with_answer("adopt", value) if value else decision


STEPS = (
    Step(forgive_configuration_rejections),
    Step(judge_candidate, candidate_moments),
    Step(judge_refused_template),
    Step(judge_serving, serving_moments),
    Step(follow_target, start_moments),
    Step(_answer_adoption),
)


def plan(world: World) -> Plan:
    """Decides the next step of one ModelDeployment. Raises nothing for any world that can be observed."""
    ownership = ownership_of(world)
    if ownership.going_away:
        # the kept revisions are the history of an earlier object of that name
        return Plan((), report(world, Decision(RolloutState(), ownership=ownership)), GARBAGE_WAIT)
    decision = Decision(load(world), tuple(world.children.revisions), ownership)
    if world.parsed_spec is None:
        return _only_report(world, decision)
    if world.spec.suspend:
        return Plan((), report(world, replace(decision, desired=find_kept_desired(world, decision))))
    if not ownership.conflicts:
        for step in STEPS:
            decision = step.decide(world, decision)
    desired = [r for r in (decision.desired, decision.interim) if r]
    status = report(world, decision)
    return Plan(
        () if ownership.conflicts else child_actions(world, decision.state, decision.revisions, desired),
        status,
        _until_the_first(world.now, _moments(world, decision)),
        (*decision.events, *events_for(world.status, status)),
        rollout_in_flight=_takes_a_slot(world, decision.state.candidate),
        watched=decision.watched,
        tags=registry_tags(world, decision.state, decision.revisions, decision.desired),
        facts=decision.facts,
        kept_out=decision.admission is not None and not decision.admission.admitted,
    )


def _only_report(world: World, decision: Decision) -> Plan:
    """The plan for a spec that can't be read: nothing changes, and a running rollout keeps its slot."""
    status = report(world, decision)
    in_flight = _takes_a_slot(world, decision.state.candidate)
    return Plan((), status, events=tuple(events_for(world.status, status)), rollout_in_flight=in_flight)


def _takes_a_slot(world: World, candidate: Candidate | None) -> bool:
    # a rollout that is blocked, or waits for a person, must not block the others
    return bool(candidate and candidate.phase.in_flight and not candidate.reason and not world.refused_writes)


def _moments(world: World, decision: Decision) -> Iterable[datetime]:
    """When to look again, because time alone can change the decision."""
    for step in STEPS:
        yield from step.moments(world, decision)
    yield from child_moments(world, decision.state)


def _until_the_first(now: datetime, moments: Iterable[datetime]) -> timedelta | None:
    # a moment that has come and changed nothing waits for something other than time
    return min((moment - now for moment in moments if moment > now), default=None)
