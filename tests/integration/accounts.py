"""Accounts that may do less than the administrator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from tests.cluster.api import ApiClient

from model_operator.domain.objects import Kind
from model_operator.kube.resources import group_and_plural


def reader_of(
    kinds: Sequence[Kind], api: ApiClient, administrator: Path, namespace: str, directory: Path
) -> Path:
    """The kubeconfig of a new service account that may list and watch these kinds in that namespace, and no more."""
    resources = [group_and_plural(kind) for kind in kinds]
    rules = [
        {"apiGroups": [group], "resources": [plural], "verbs": ["list", "watch"]}
        for group, _, plural in resources
    ]
    subject = {"kind": "ServiceAccount", "name": "somebody", "namespace": namespace}
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "some"}
    for path, body in (
        (accounts, {"metadata": {"name": "somebody"}}),
        (f"{rbac}/roles", {"metadata": {"name": "some"}, "rules": rules}),
        (f"{rbac}/rolebindings", {"metadata": {"name": "some"}, "subjects": [subject], "roleRef": role}),
    ):
        created = api.http.post(path, json=body)
        assert created.status_code == 201, created.text
    token = api.http.post(f"{accounts}/somebody/token", json={"spec": {}}).json()["status"]["token"]
    config = yaml.safe_load(administrator.read_text())
    config["users"][0]["user"] = {"token": token}
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    return kubeconfig
