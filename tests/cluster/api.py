"""The few requests that the cluster code itself makes to a Kubernetes API server."""

from __future__ import annotations

import base64
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import yaml

FIELD_MANAGER = "model-operator-test-cluster"

_RESOURCES = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Namespace": ("api/v1", "namespaces"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "APIService": ("apis/apiregistration.k8s.io/v1", "apiservices"),
}


class KubeconfigError(ValueError):
    """The kubeconfig is absent, has no such context, or logs in by a way that this small client lacks."""


def load_context(kubeconfig: Path, context: str | None = None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The name of the (current) context, its cluster and its user. Raises KubeconfigError."""
    try:
        content = yaml.safe_load(kubeconfig.read_text())
        name = context or content["current-context"]
        entry = next(c["context"] for c in content["contexts"] if c["name"] == name)
        cluster = next(c["cluster"] for c in content["clusters"] if c["name"] == entry["cluster"])
        user = next(u["user"] for u in content["users"] if u["name"] == entry["user"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, StopIteration) as error:
        raise KubeconfigError(f"{kubeconfig} has no usable context: {error!r}") from error
    return name, cluster, user


def tls_context(cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    """What a kubeconfig's cluster and user prove themselves with. Raises KubeconfigError."""
    authority = cluster.get("certificate-authority-data")
    certificate, key = user.get("client-certificate-data"), user.get("client-key-data")
    if not (authority and certificate and key):
        raise KubeconfigError("the kubeconfig does not carry its certificates inside")
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    with tempfile.TemporaryDirectory() as directory:
        # the standard library loads client certificates from files only
        certificate_file, key_file = Path(directory, "crt"), Path(directory, "key")
        certificate_file.write_bytes(base64.b64decode(certificate))
        key_file.touch(mode=0o600)
        key_file.write_bytes(base64.b64decode(key))
        context.load_cert_chain(certificate_file, key_file)
    return context


class ApiClient:
    """A client for one kubeconfig; use it as a context manager."""

    def __init__(self, kubeconfig: Path, timeout_seconds: float = 10.0) -> None:
        _, cluster, user = load_context(kubeconfig)
        # the test cluster is never behind the machine's proxy
        self.http = httpx.Client(
            base_url=cluster["server"],
            verify=tls_context(cluster, user),
            timeout=timeout_seconds,
            trust_env=False,
            # the way is short, and to compress a long list costs the server more than to make it
            headers={"Accept-Encoding": "identity"},
        )

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def ready(self) -> bool:
        try:
            return self.http.get("/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> dict[str, Any] | None:
        """The object or list at that path; None when there is none. Raises httpx.HTTPError."""
        answer = self.http.get(path)
        if answer.status_code == 404:
            return None
        return dict(answer.raise_for_status().json())

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Creates or updates by server-side apply. Raises httpx.HTTPError with the server's reason."""
        group, plural = _RESOURCES[manifest["kind"]]
        metadata = manifest["metadata"]
        namespace = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        answer = self.http.patch(
            f"/{group}/{namespace}{plural}/{metadata['name']}",
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=yaml.safe_dump(manifest).encode(),
        )
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{manifest['kind']} {metadata['name']}: {answer.text}",
                request=answer.request,
                response=answer,
            )
        return dict(answer.json())
