"""Whose fault is it? Verdicts on a revision, by what its pods and its answers say. All pure.

``faults`` has the one table of reasons; ``judge`` is for a revision on its way, ``watch`` for one that serves.
"""

from model_operator.health.faults import (
    EXIT_CODES,
    FAULTS,
    MESSAGE_LIMIT,
    Diagnosis,
    Failure,
    failure,
)
from model_operator.health.rollout import Judgement, judge, self_test_outcome
from model_operator.health.watch_window import Watched, watch

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
