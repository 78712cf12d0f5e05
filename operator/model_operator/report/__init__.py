"""The report: the status of a ModelDeployment, for every situation. All pure.

``status`` puts it together, ``standing`` has the conditions, ``obstacles`` what stands in the way.
"""

from model_operator.report.situation import Situation
from model_operator.report.status import report, troubles

__all__ = ["Situation", "report", "troubles"]
