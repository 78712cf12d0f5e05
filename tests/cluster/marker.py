"""The mark that a cluster of ours carries inside, so that tests can tell it from anybody else's."""

from __future__ import annotations

from typing import Any

NAMESPACE = "kube-system"
NAME = "model-operator-test-cluster"


def manifest(cluster_id: str, provider: str, server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {"cluster": cluster_id, "provider": provider, "server": server},
    }
