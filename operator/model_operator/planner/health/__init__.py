"""Whose fault is it? Verdicts on a revision, by what its pods and its answers say. All pure.

``reasons`` has the one table of reasons. ``judge_candidate_pods`` is for a revision on its way,
``judge_serving_pods`` for one that serves.
"""

from model_operator.planner.health.candidate import Judgement, judge_candidate_pods, self_test_outcome
from model_operator.planner.health.reasons import EXIT_CODES, MESSAGE_LIMIT, REASONS, Failure, Reason, failure
from model_operator.planner.health.serving import Load, ServingJudgement, judge_serving_pods

__all__ = [
    "EXIT_CODES",
    "MESSAGE_LIMIT",
    "REASONS",
    "Failure",
    "Judgement",
    "Load",
    "Reason",
    "ServingJudgement",
    "failure",
    "judge_candidate_pods",
    "judge_serving_pods",
    "self_test_outcome",
]
