"""The install without Program: the manifests of deploy/, the kustomization beside them, and the example upon it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import yaml
from tests.integration.chart.programs import CHART, CRD, MODEL_DEPLOYMENTS, NAMESPACE, ROOT, Program

from model_operator import settings

DEPLOY = ROOT / "deploy"
EXAMPLE = ROOT / "examples" / "kustomize"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/model-operator"


def _configuration(api: httpx.Client) -> settings.Settings:
    found = api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/model-operator").raise_for_status().json()
    return settings.parse(found["data"]["config.yaml"], "config.yaml")


def _admission(api: httpx.Client, deployment: dict[str, Any]) -> httpx.Response:
    spec = deployment["spec"]["template"]["spec"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}
    return api.post(f"/api/v1/namespaces/{NAMESPACE}/pods", params={"dryRun": "All"}, json=pod)


@pytest.mark.usefixtures("swept")
def test_the_plain_manifests_are_applied_twice_without_a_change_and_helm_can_take_them_over(
    kubectl: Program, helm: Program, api: httpx.Client
) -> None:
    kubectl("apply", "-k", str(DEPLOY))
    again = kubectl("apply", "-k", str(DEPLOY))
    deployment = api.get(DEPLOYMENT).raise_for_status().json()
    namespace = api.get(f"/api/v1/namespaces/{NAMESPACE}").json()

    assert {line.split()[-1] for line in again.splitlines()} == {"unchanged"}
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert _admission(api, deployment).status_code == 201
    assert set(_configuration(api).registries) == {"default"}
    created = api.post(
        MODEL_DEPLOYMENTS,
        json=yaml.safe_load((ROOT / "examples" / "churn.yaml").read_text()),
    )
    assert created.status_code == 201

    helm("install", "model-operator", str(CHART), "--take-ownership")

    taken = api.get(DEPLOYMENT).raise_for_status().json()
    assert taken["metadata"]["uid"] == deployment["metadata"]["uid"]
    assert (
        api.get(f"{MODEL_DEPLOYMENTS}/churn").json()["metadata"]["uid"] == created.json()["metadata"]["uid"]
    )


@pytest.mark.usefixtures("swept")
def test_the_example_puts_images_registry_and_credentials_into_the_plain_manifests(
    kubectl: Program, api: httpx.Client
) -> None:
    kubectl("apply", "-k", str(EXAMPLE))
    try:
        deployment = api.get(DEPLOYMENT).raise_for_status().json()
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        (registry,) = _configuration(api).registries.values()

        assert container["image"] == "registry.example.com/model-operator:0.1"
        assert registry.credentials_dir in {it["mountPath"] for it in container["volumeMounts"]}
        assert _admission(api, deployment).status_code == 201
        answer = api.post(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            json={
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": f"system:serviceaccount:{NAMESPACE}:model-operator",
                    "resourceAttributes": {
                        "verb": "get",
                        "resource": "secrets",
                        "namespace": "crm",
                        "name": registry.pod_credentials.secret,
                    },
                },
            },
        )
        assert answer.json()["status"]["allowed"], json.dumps(answer.json()["status"])
    finally:
        kubectl("delete", "-f", str(EXAMPLE / "secrets-role.yaml"))
        kubectl("delete", "-f", str(DEPLOY / "operator.yaml"))

    # without its CRD no ModelDeployment would be left, so it is in a file of its own
    assert api.get(CRD).status_code == 200
