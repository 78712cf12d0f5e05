"""The report: the status of a ModelDeployment, for every situation. All pure.

``status`` puts it together, ``conditions`` has the conditions, ``blockers`` finds what is in the way.
``events`` tells of conditions that went bad.
"""

from model_operator.planner.status.status import report

__all__ = ["report"]
