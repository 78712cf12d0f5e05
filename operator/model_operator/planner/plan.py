"""The whole life of a rollout: ``plan(world)`` says what to do next and what to report. Pure.

Read ``plan`` from top to bottom: remember, look at the candidate, look at what serves, look at the target, then make
the cluster carry what was decided. Nothing depends on which event woke us; the same world always gives the same
plan. The steps stand in ``steps``; what a person asks for by annotation is in ``annotations``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from model_operator.domain.plan import Plan
from model_operator.domain.rollout import Candidate, RolloutState
from model_operator.domain.world import World
from model_operator.planner.annotations import read_unanswered
from model_operator.planner.children.actions import child_actions
from model_operator.planner.children.ownership import ownership_of
from model_operator.planner.decision import Decision
from model_operator.planner.state import load
from model_operator.planner.status import report
from model_operator.planner.status.events import events_for
from model_operator.planner.status.registry_tags import registry_tags
from model_operator.planner.steps.candidate import judge_candidate, judge_refused_template
from model_operator.planner.steps.desired import find_kept_desired
from model_operator.planner.steps.rejections import forgive_configuration_rejections
from model_operator.planner.steps.requeue import look_again
from model_operator.planner.steps.start import follow_target
from model_operator.planner.steps.watch_window import judge_serving

GARBAGE_WAIT = timedelta(seconds=3)


def plan(world: World) -> Plan:
    """Decides the next step of one ModelDeployment. Raises nothing for any world that can be observed."""
    ownership = ownership_of(world)
    if ownership.going_away:
        # what the kept revisions tell is another object's life
        return Plan((), report(world, Decision(RolloutState(), ownership=ownership)), GARBAGE_WAIT)
    decision = Decision(load(world), tuple(world.children.revisions), ownership)
    frozen = world.spec is not None and world.spec.suspend
    if frozen:
        decision = replace(decision, desired=find_kept_desired(world, decision))
    elif not ownership.conflicts:
        decision = forgive_configuration_rejections(world, decision)
        decision = judge_candidate(world, decision)
        decision = judge_refused_template(world, decision)
        decision = judge_serving(world, decision)
        decision = follow_target(world, decision)
        decision = _answer_adoption(world, decision)
    status = report(world, decision)
    if frozen:
        return Plan((), status)
    desired = [r for r in (decision.desired, decision.interim) if r]
    actions = () if ownership.conflicts else child_actions(world, decision.state, decision.revisions, desired)
    return Plan(
        actions,
        status,
        look_again(world, decision),
        (*decision.events, *events_for(world.status, status)),
        rollout_in_flight=_takes_a_slot(world, decision.state.candidate),
        watched=decision.watched,
        tags=registry_tags(world, decision.state, decision.revisions, decision.desired),
        facts=decision.facts,
        kept_out=decision.admission is not None and not decision.admission.admitted,
    )


def _takes_a_slot(world: World, candidate: Candidate | None) -> bool:
    # a rollout that is held up, or waits for a person, must not hold up the others
    return bool(candidate and candidate.phase.in_flight and not candidate.reason and not world.refused_writes)


def _answer_adoption(world: World, decision: Decision) -> Decision:
    value = read_unanswered(world, "adopt")
    return decision.with_answer("adopt", value) if value else decision
