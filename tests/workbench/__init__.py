"""What the demo and the end-to-end tests share: a cluster with our images and operator, a registry, requests."""

from tests.workbench.cluster import ROOT, SYSTEM_NAMESPACE, Workbench, WorkbenchError
from tests.workbench.load import Counters, Load
from tests.workbench.namespace import Namespace

__all__ = ["ROOT", "SYSTEM_NAMESPACE", "Counters", "Load", "Namespace", "Workbench", "WorkbenchError"]
