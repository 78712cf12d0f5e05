"""Checks an installation: gathers facts, then turns them into findings with remedies."""

from model_operator.cli.doctor.examination import examine
from model_operator.cli.doctor.facts import Facts, Operator, Probe
from model_operator.cli.doctor.findings import Finding, Level, findings

__all__ = ["Facts", "Finding", "Level", "Operator", "Probe", "examine", "findings"]
