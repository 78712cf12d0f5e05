"""The gates that a version must pass before any of its pods starts: an ordered chain of small pure functions."""

from model_operator.planner.gates.base import GateOutcome, GateResult, Subject
from model_operator.planner.gates.chain import GateReport, asks_anything, facts_wanted, run_chain

__all__ = ["GateOutcome", "GateReport", "GateResult", "Subject", "asks_anything", "facts_wanted", "run_chain"]
