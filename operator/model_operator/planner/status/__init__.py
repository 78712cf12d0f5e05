"""The status of a ModelDeployment, for every situation. All pure.

``status`` builds it, ``conditions`` has the conditions, and ``blockers`` finds the obstacles. ``events`` makes the
events for conditions that became unhealthy.
"""

from model_operator.planner.status.status import report

__all__ = ["report"]
