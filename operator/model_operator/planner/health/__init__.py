"""Whose fault is it? Verdicts on a revision, by what its pods and its answers say. All pure.

``reasons`` has the one table of reasons; ``judge`` is for a revision on its way, ``watch`` for one that serves.
"""

from model_operator.planner.health.candidate import Judgement, judge, self_test_outcome
from model_operator.planner.health.reasons import (
    EXIT_CODES,
    FAULTS,
    MESSAGE_LIMIT,
    Diagnosis,
    Failure,
    failure,
)
from model_operator.planner.health.serving import Watched, watch

__all__ = [
    "EXIT_CODES",
    "FAULTS",
    "MESSAGE_LIMIT",
    "Diagnosis",
    "Failure",
    "Judgement",
    "Watched",
    "failure",
    "judge",
    "self_test_outcome",
    "watch",
]
