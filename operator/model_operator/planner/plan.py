"""The whole life of a rollout: ``plan(world)`` says what to do next and what to report. Pure.

Read ``plan`` from top to bottom: remember, look at the candidate, look at what serves, look at the wish, then make
the cluster carry what was decided. Nothing depends on which event woke us; the same world always gives the same
plan. The steps stand in ``steps``; what a person asks for by annotation is in ``annotations``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from model_operator.domain.plan import Plan
from model_operator.domain.rollout import Candidate, Memory
from model_operator.domain.world import World
from model_operator.planner.annotations import unanswered
from model_operator.planner.children.actions import child_actions
from model_operator.planner.children.ownership import ownership_of
from model_operator.planner.decision import Course, Situation
from model_operator.planner.state import recall
from model_operator.planner.status import report
from model_operator.planner.status.events import troubles
from model_operator.planner.status.registry_tags import registry_tags
from model_operator.planner.steps.candidate import judge_candidate, judge_template_fault
from model_operator.planner.steps.desired import wanted_of_old
from model_operator.planner.steps.rejections import pardon
from model_operator.planner.steps.requeue import look_again
from model_operator.planner.steps.start import follow_wish
from model_operator.planner.steps.watch_window import watch_serving

GARBAGE_WAIT = timedelta(seconds=3)


def plan(world: World) -> Plan:
    """Decides the next step of one ModelDeployment. Raises nothing for any world that can be observed."""
    ownership = ownership_of(world)
    if ownership.going_away:
        # what the kept revisions tell is another object's life
        situation = Situation(Memory(), ownership=ownership)
        return Plan((), report(world, situation), GARBAGE_WAIT)
    course = Course(recall(world), tuple(world.children.revisions))
    frozen = world.spec is not None and world.spec.suspend
    if frozen:
        course = replace(course, wished=wanted_of_old(world, course))
    elif not ownership.conflicts:
        course = pardon(world, course)
        course = judge_candidate(world, course)
        course = judge_template_fault(world, course)
        course = watch_serving(world, course)
        course = follow_wish(world, course)
        course = _answer_adoption(world, course)
    situation = Situation(
        course.memory,
        ownership,
        course.judgement,
        course.wished,
        course.problem,
        course.revisions,
        course.answers,
        course.held,
        course.trouble,
        course.admission,
        course.stand_in,
    )
    status = report(world, situation)
    if frozen:
        return Plan((), status)
    wanted = [r for r in (course.wished, course.stand_in) if r]
    actions = () if ownership.conflicts else child_actions(world, course.memory, course.revisions, wanted)
    return Plan(
        actions,
        status,
        look_again(world, course),
        (*course.news, *troubles(world.status, status)),
        rollout_in_flight=_takes_a_slot(world, course.memory.candidate),
        watched=course.watched,
        tags=registry_tags(world, course.memory, course.revisions, course.wished),
        facts=course.facts,
        kept_out=course.admission is not None and not course.admission.admitted,
    )


def _takes_a_slot(world: World, candidate: Candidate | None) -> bool:
    # a rollout that is held up, or waits for a person, must not hold up the others
    return bool(candidate and candidate.phase.in_flight and not candidate.reason and not world.faults)


def _answer_adoption(world: World, course: Course) -> Course:
    value = unanswered(world, "adopt")
    return course.answering("adopt", value) if value else course
