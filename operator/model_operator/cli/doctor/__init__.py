"""What is wrong with an installation, and what helps: facts are gathered, then judged."""

from model_operator.cli.doctor.examination import examine
from model_operator.cli.doctor.facts import Facts, Operator, Probe
from model_operator.cli.doctor.findings import Finding, Level, findings

__all__ = ["Facts", "Finding", "Level", "Operator", "Probe", "examine", "findings"]
