"""Paths of the kinds of object that the tests read and change."""

from __future__ import annotations

PATHS = {
    "ModelDeployment": "/apis/model-operator.io/v1alpha1/namespaces/{}/modeldeployments",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Event": "/api/v1/namespaces/{}/events",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
CHILDREN = (
    "Deployment",
    "Service",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "ControllerRevision",
    "ConfigMap",
)
"""Kinds of object that a ModelDeployment owns."""


def path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """The path of an object, or of the list of all of that kind in the namespace."""
    parts = [PATHS[kind].format(namespace), name, subresource]
    return "/".join(part for part in parts if part)
