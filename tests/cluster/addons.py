"""What makes the bare node a usual cluster: DNS and metrics, as processes that pods reach by Services."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from tests.cluster.configuration import METRICS_PORT, NodePlan


def _service(name: str, cluster_ip: str | None, ports: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = {"ports": ports}
    if cluster_ip:
        spec["clusterIP"] = cluster_ip
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": name}},
        "spec": spec,
    }


def _endpoints(name: str, address: str, ports: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-node",
            "namespace": "kube-system",
            "labels": {
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "model-operator-test-cluster",
            },
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": ports,
    }


def manifests(plan: NodePlan, authority: Path) -> list[dict[str, Any]]:
    """The Services of the add-ons, their endpoints on the node, and the registration of the metrics API."""
    node = str(plan.subnets.node)
    dns_ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    return [
        _service(
            "kube-dns",
            str(plan.subnets.dns),
            [
                {"name": name, "port": 53, "targetPort": 53, "protocol": protocol}
                for name, protocol in dns_ports
            ],
        ),
        _endpoints(
            "kube-dns",
            node,
            [{"name": name, "port": 53, "protocol": protocol} for name, protocol in dns_ports],
        ),
        _service(
            "metrics-server",
            None,
            [{"name": "https", "port": 443, "targetPort": METRICS_PORT, "protocol": "TCP"}],
        ),
        _endpoints("metrics-server", node, [{"name": "https", "port": METRICS_PORT, "protocol": "TCP"}]),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "service": {"name": "metrics-server", "namespace": "kube-system", "port": 443},
                "caBundle": base64.b64encode(authority.read_bytes()).decode(),
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "system:aggregated-metrics-reader",
                "labels": {
                    f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"
                    for role in ("view", "edit", "admin")
                },
            },
            "rules": [
                {
                    "apiGroups": ["metrics.k8s.io"],
                    "resources": ["pods", "nodes"],
                    "verbs": ["get", "list", "watch"],
                }
            ],
        },
    ]
