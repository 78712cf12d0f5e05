"""What a version must pass before anything of it starts: an ordered chain of small pure functions."""

from model_operator.planner.gates.chain import GateReport, Subject, asks_anything, facts_wanted, run_chain
from model_operator.planner.gates.result import GateOutcome, GateResult

__all__ = ["GateOutcome", "GateReport", "GateResult", "Subject", "asks_anything", "facts_wanted", "run_chain"]
