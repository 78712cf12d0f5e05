"""A real API server judges the rendered objects: it takes them, and what it stores does not count as drift."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tests.cluster.api import ApiClient

from model_operator.planner.manifests import differs

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"
RENDERED = sorted(path for path in GOLDEN.glob("*.yaml") if not path.name.endswith(".spec.yaml"))
AWKWARD = GOLDEN / "recorded" / "quirks.applied.yaml"
PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "ControllerRevision": "/apis/apps/v1/namespaces/{}/controllerrevisions",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Service": "/api/v1/namespaces/{}/services",
}


def bodies(path: Path, namespace: str) -> list[dict[str, Any]]:
    """The documents, in ``namespace``; without their owner, who does not exist, so that none is collected."""
    documents = [body for body in yaml.safe_load_all(path.read_text(encoding="utf-8")) if body]
    for body in documents:
        body["metadata"]["namespace"] = namespace
        body["metadata"].pop("ownerReferences", None)
    return documents


def apply(api: ApiClient, body: dict[str, Any]) -> httpx.Response:
    metadata = body["metadata"]
    return api.http.patch(
        f"{PATHS[body['kind']].format(metadata['namespace'])}/{metadata['name']}",
        params={"fieldManager": "model-operator", "force": "true", "fieldValidation": "Strict"},
        content=json.dumps(body),
        headers={"content-type": "application/apply-patch+yaml"},
    )


@pytest.mark.parametrize("path", [*RENDERED, AWKWARD], ids=lambda path: path.stem)
def test_what_the_server_stores_does_not_differ_from_what_was_applied(
    path: Path, api: ApiClient, namespace: str
) -> None:
    for body in bodies(path, namespace):
        stored = apply(api, body)
        assert stored.status_code == 201, stored.text
        assert differs(body, stored.json()) == []


@pytest.fixture
def strict_namespace(api: ApiClient, namespace: str) -> Iterator[str]:
    """A namespace that warns of pods which the restricted standard forbids.

    Labelled from its first moment: a label that comes later reaches the server's cache later still.
    """
    name = f"{namespace}-strict"
    metadata = {"name": name, "labels": {"pod-security.kubernetes.io/warn": "restricted"}}
    created = api.http.post("/api/v1/namespaces", json={"metadata": metadata})
    assert created.status_code == 201, created.text
    yield name
    api.http.delete(f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("case", ["minimal", "autoscaling", "platform"])
def test_the_default_pods_pass_the_restricted_standard_without_a_warning(
    case: str, api: ApiClient, strict_namespace: str
) -> None:
    rendered = bodies(GOLDEN / f"{case}.yaml", strict_namespace)
    (body,) = (one for one in rendered if one["kind"] == "Deployment")
    stored = apply(api, body)
    assert stored.status_code == 201, stored.text
    assert "warning" not in stored.headers
    # the same pods, but for one field, are warned about: so the silence above says something
    body["metadata"]["name"] = "worse"
    body["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsNonRoot"] = False
    worse = apply(api, body)
    assert worse.status_code == 201, worse.text
    assert "restricted" in worse.headers["warning"]


# the parts of OpenShift's constraint restricted-v2 that a pod can break
RESTRICTED_V2 = """
[object.spec.?securityContext.?runAsUser, object.spec.?securityContext.?fsGroup]
  .all(id, !id.hasValue() || (id.value() >= 1000680000 && id.value() < 1000690000))
&& (object.spec.containers + object.spec.?initContainers.orValue([])).all(container,
  container.securityContext.capabilities.drop.exists(name, name == 'ALL')
  && !container.securityContext.allowPrivilegeEscalation
  && !container.securityContext.?runAsUser.hasValue())
&& object.spec.?securityContext.?seccompProfile.?type.orValue('RuntimeDefault') == 'RuntimeDefault'
"""
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
POLICY_SECONDS = 30


@pytest.fixture
def ranged_namespace(api: ApiClient, namespace: str) -> Iterator[str]:
    """A namespace whose pods must have ids of its own range, or none."""
    name = f"{namespace}-ranged"
    metadata = {"name": name, "labels": {"ids": name}}
    matches = {
        "namespaceSelector": {"matchLabels": {"ids": name}},
        "resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
    }
    policy = {"validations": [{"expression": RESTRICTED_V2}], "matchConstraints": matches}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    for path, body in (
        ("/api/v1/namespaces", {"metadata": metadata}),
        (POLICIES, {"metadata": {"name": name}, "spec": policy}),
        (POLICIES.replace("policies", "policybindings"), {"metadata": {"name": name}, "spec": binding}),
    ):
        created = api.http.post(path, json=body)
        assert created.status_code == 201, created.text
    yield name
    for path in (POLICIES, POLICIES.replace("policies", "policybindings"), "/api/v1/namespaces"):
        api.http.delete(f"{path}/{name}")


def _create_pod(api: ApiClient, case: str, namespace: str) -> httpx.Response:
    (body,) = (one for one in bodies(GOLDEN / f"{case}.yaml", namespace) if one["kind"] == "Deployment")
    pod = {"metadata": {"generateName": "churn-"}, "spec": body["spec"]["template"]["spec"]}
    return api.http.post(f"/api/v1/namespaces/{namespace}/pods", params={"dryRun": "All"}, json=pod)


def test_a_platform_that_assigns_ids_takes_the_pods_only_if_we_leave_the_ids_to_it(
    api: ApiClient, ranged_namespace: str
) -> None:
    account = {"metadata": {"name": "default"}}
    api.http.post(f"/api/v1/namespaces/{ranged_namespace}/serviceaccounts", json=account)
    deadline = time.monotonic() + POLICY_SECONDS
    # a new policy counts only some moments after it was made
    while (fixed := _create_pod(api, "minimal", ranged_namespace)).status_code == 201:
        assert time.monotonic() < deadline, fixed.text
        time.sleep(0.2)
    assert "ValidatingAdmissionPolicy" in fixed.text, fixed.text
    left = _create_pod(api, "platform", ranged_namespace)
    assert left.status_code == 201, left.text
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & left.json()["spec"]["securityContext"].keys()
