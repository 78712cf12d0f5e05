"""Objects of the cluster as frozen views, each read once from the JSON of the API server. All pure.

Only these modules know the fields of Kubernetes objects. Any field may be missing or have the wrong type. The readers
raise nothing, and an invalid value counts as absent.
"""

from model_operator.domain.objects.children import Child, Controller, read_child
from model_operator.domain.objects.conditions import Condition
from model_operator.domain.objects.fields import (
    Object,
    count,
    part,
    read_continue,
    read_time,
    rfc3339,
)
from model_operator.domain.objects.installation import (
    InstalledCrd,
    OperatorDeployment,
    read_crd,
    read_data,
    read_is_allowed,
    read_operator_deployment,
)
from model_operator.domain.objects.kinds import Key, Kind, ObjectRef
from model_operator.domain.objects.leases import Lease, read_lease
from model_operator.domain.objects.modeldeployments import (
    ModelDeployment,
    Report,
    read_modeldeployment,
    read_report,
)
from model_operator.domain.objects.pods import (
    Container,
    ContainerEnd,
    Pod,
    change_messages,
    read_pod,
    read_pod_version,
    read_restarts,
)
from model_operator.domain.objects.scaling import (
    Autoscaler,
    DisruptionBudget,
    read_autoscaler,
    read_disruption_budget,
)
from model_operator.domain.objects.services import EndpointSlice, Service, read_endpoint_slice, read_service
from model_operator.domain.objects.workloads import Deployment, read_deployment

__all__ = [
    "Autoscaler",
    "Child",
    "Condition",
    "Container",
    "ContainerEnd",
    "Controller",
    "Deployment",
    "DisruptionBudget",
    "EndpointSlice",
    "InstalledCrd",
    "Key",
    "Kind",
    "Lease",
    "ModelDeployment",
    "Object",
    "ObjectRef",
    "OperatorDeployment",
    "Pod",
    "Report",
    "Service",
    "change_messages",
    "count",
    "part",
    "read_autoscaler",
    "read_child",
    "read_continue",
    "read_crd",
    "read_data",
    "read_deployment",
    "read_disruption_budget",
    "read_endpoint_slice",
    "read_is_allowed",
    "read_lease",
    "read_modeldeployment",
    "read_operator_deployment",
    "read_pod",
    "read_pod_version",
    "read_report",
    "read_restarts",
    "read_service",
    "read_time",
    "rfc3339",
]
