"""Judges a revision by its pods and its answers: why it fails, and which side can fix that. All pure.

``reasons`` has the only table of reasons. ``judge_candidate_pods`` judges a candidate, ``judge_serving_pods`` the
serving revision.
"""

from model_operator.planner.health.autoscaling import IdleAutoscaler, find_idle_autoscaler
from model_operator.planner.health.candidate import Judgement, judge_candidate_pods, self_test_outcome
from model_operator.planner.health.crashes import (
    LONGEST_CALM,
    LOOP_SPAN,
    CrashLoop,
    find_calm,
    find_crash_loop,
)
from model_operator.planner.health.reasons import EXIT_CODES, MESSAGE_LIMIT, REASONS, Failure, Reason, failure
from model_operator.planner.health.serving import Load, ServingJudgement, judge_serving_pods

__all__ = [
    "EXIT_CODES",
    "LONGEST_CALM",
    "LOOP_SPAN",
    "MESSAGE_LIMIT",
    "REASONS",
    "CrashLoop",
    "Failure",
    "IdleAutoscaler",
    "Judgement",
    "Load",
    "Reason",
    "ServingJudgement",
    "failure",
    "find_calm",
    "find_crash_loop",
    "find_idle_autoscaler",
    "judge_candidate_pods",
    "judge_serving_pods",
    "self_test_outcome",
]
