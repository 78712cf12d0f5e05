"""What a version must pass before anything of it starts: an ordered chain of small pure functions."""

from model_operator.planner.gates.chain import GateReport, Subject, asks_anything, facts_wanted, judge
from model_operator.planner.gates.result import GateResult, Outcome

__all__ = ["GateReport", "GateResult", "Outcome", "Subject", "asks_anything", "facts_wanted", "judge"]
