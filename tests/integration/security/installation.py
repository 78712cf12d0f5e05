"""The operator with exactly the rights that the chart gives it, and the API server's own record of what it did."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.api import ApiClient
from tests.cluster.binaries import ensure
from tests.cluster.control_plane import ControlPlane

CHART = Path(__file__).parents[3] / "charts" / "model-operator"
RELEASE = "model-operator"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource; ``name`` where the rule names the object."""

    verb: str
    resource: str
    """With its group and subresource: ``deployments.apps/scale``."""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")


@dataclass(frozen=True)
class Call:
    """One request of the operator, as the API server recorded it."""

    right: Right
    namespace: str
    code: int
    allowed: bool
    text: str
    """The whole record, with the body of what was written."""


@dataclass(frozen=True)
class Installation:
    """A release of the chart on a control plane."""

    plane: ControlPlane
    directory: Path
    namespace: str
    """The release's own."""

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{RELEASE}"

    @classmethod
    def make(cls, plane: ControlPlane, directory: Path, values: dict[str, Any]) -> Installation:
        """Installs the chart with helm into a namespace of its own that admits only restricted pods."""
        made = cls(plane, directory, f"operator-{secrets.token_hex(4)}")
        make_namespace(plane, made.namespace)
        made._helm("install", "--take-ownership", "--values", "-", str(CHART), values=values)
        return made

    def remove(self) -> None:
        """Uninstalls it."""
        self._helm("uninstall", "--ignore-not-found")

    def _helm(self, verb: str, *arguments: str, values: dict[str, Any] | None = None) -> None:
        done = subprocess.run(
            [ensure("helm")["helm"], verb, RELEASE, *arguments, "--namespace", self.namespace],
            input=json.dumps(values or {}),
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "KUBECONFIG": str(self.plane.kubeconfig),
                "NO_PROXY": "127.0.0.1",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def settings(self, api: ApiClient) -> dict[str, Any]:
        """The configuration file that the chart wrote."""
        found = api.get(f"/api/v1/namespaces/{self.namespace}/configmaps/{RELEASE}")
        assert found
        return dict(yaml.safe_load(found["data"]["config.yaml"]))

    def kubeconfig(self, api: ApiClient) -> Path:
        """A kubeconfig with a token of the operator's service account."""
        answer = api.http.post(
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{RELEASE}/token",
            json={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        assert answer.status_code == 201, answer.text
        config = yaml.safe_load(self.plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": answer.json()["status"]["token"]}
        path = self.directory / "operator.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    def credentials(self, api: ApiClient) -> dict[str, str]:
        """What the chart's Secret for the default registry holds."""
        found = api.get(f"/api/v1/namespaces/{self.namespace}/secrets/{RELEASE}-registry-default")
        assert found
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def granted(self, api: ApiClient, namespace: str) -> set[Right]:
        """Every right that the operator has in that namespace, by cluster role or by role."""
        rules: list[dict[str, Any]] = []
        for bindings, roles in (
            (f"{_RBAC}/clusterrolebindings", f"{_RBAC}/clusterroles"),
            (f"{_RBAC}/namespaces/{namespace}/rolebindings", f"{_RBAC}/namespaces/{namespace}/roles"),
        ):
            found = api.get(bindings)
            assert found
            for binding in found["items"]:
                subjects = binding.get("subjects") or []
                if any(it["name"] == RELEASE and it.get("namespace") == self.namespace for it in subjects):
                    role = api.get(f"{roles}/{binding['roleRef']['name']}")
                    assert role
                    rules += role["rules"]
        return set(_expanded(rules))

    def calls(self) -> list[Call]:
        """What the operator asked of the API server for objects, in order."""
        assert self.plane.audit_log
        return [
            _call(record, line)
            for line in self.plane.audit_log.read_text().splitlines()
            if f'"{self.user}"' in line
            and (record := json.loads(line))["user"]["username"] == self.user
            and "objectRef" in record
        ]


def make_namespace(plane: ControlPlane, name: str) -> None:
    """A namespace that admits only restricted pods."""
    with ApiClient(plane.kubeconfig) as api:
        body = {"metadata": {"name": name, "labels": RESTRICTED}}
        assert api.http.post("/api/v1/namespaces", json=body).status_code == 201


def _resource(group: str, resource: str, subresource: str = "") -> str:
    whole = f"{resource}.{group}" if group else resource
    return f"{whole}/{subresource}" if subresource else whole


def _expanded(rules: Sequence[dict[str, Any]]) -> Iterator[Right]:
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plain, _, subresource = resource.partition("/")
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames") or [""]:
                        yield Right(verb, _resource(group, plain, subresource), name)


def _call(record: dict[str, Any], line: str) -> Call:
    target = record["objectRef"]
    resource = _resource(target.get("apiGroup", ""), target["resource"], target.get("subresource", ""))
    # secrets are the only thing that is granted by name
    name = target.get("name", "") if resource == "secrets" else ""
    decision = record.get("annotations", {}).get("authorization.k8s.io/decision")
    return Call(
        Right(record["verb"], resource, name),
        target.get("namespace", ""),
        int(record.get("responseStatus", {}).get("code", 0)),
        decision == "allow",
        line,
    )
