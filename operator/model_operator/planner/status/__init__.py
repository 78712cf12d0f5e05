"""The report: the status of a ModelDeployment, for every situation. All pure.

``status`` puts it together, ``conditions`` has the conditions, ``blockers`` what stands in the way.
"""

from model_operator.planner.status.situation import Situation
from model_operator.planner.status.status import report, troubles

__all__ = ["Situation", "report", "troubles"]
