"""A new version of the chart over an older one: CRD, release and ModelDeployments, on a real API server.

There is no release yet. ``first-0.1.0`` is the chart as it was when the operator first followed an alias from end
to end: all of its files from that commit, with the CRD and the values of that day.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.golden.test_chart import AROUND_THE_OPERATOR, EXISTING_SECRETS, WEBHOOKS
from tests.integration.chart.programs import (
    CHART,
    CRD,
    MODEL_DEPLOYMENTS,
    NAMESPACE,
    ROOT,
    Program,
    RefusedError,
)

FIRST = Path(__file__).parent / "first-0.1.0"
DEPLOYMENT = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/model-operator"
AS_OF_THEN: dict[str, Any] = {
    "model": {"uri": "models:/churn@champion"},
    "fetch": {"envFrom": [{"secretRef": {"name": "artifact-store"}}]},
    "server": {"image": "registry.example.com/server:1", "resources": {"limits": {"memory": "1Gi"}}},
    "pod": {"nodeSelector": {"pool": "serving"}},
    "autoscaling": {"minReplicas": 2, "maxReplicas": 4},
    "rollout": {"maxSurge": 0, "maxUnavailable": 1, "startupSeconds": 900},
}


def model_deployment(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name},
        "spec": spec,
    }


def create(api: httpx.Client, name: str, spec: dict[str, Any]) -> httpx.Response:
    return api.post(
        MODEL_DEPLOYMENTS, json=model_deployment(name, spec), params={"fieldValidation": "Strict"}
    )


def values_file(directory: Path, values: dict[str, Any]) -> str:
    path = directory / "values.json"
    path.write_text(json.dumps(values))
    return str(path)


def _holds(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_holds(whole.get(key), it) for key, it in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(_holds, whole, part))
    return bool(whole == part)


@pytest.mark.usefixtures("swept")
def test_from_the_first_chart_to_this_one_the_crd_is_upgraded_and_every_model_deployment_kept(
    helm: Program, api: httpx.Client
) -> None:
    helm("install", "model-operator", str(FIRST), "--create-namespace", "--set", "pollSeconds=7")
    assert create(api, "churn", AS_OF_THEN).status_code == 201
    before = api.get(f"{MODEL_DEPLOYMENTS}/churn").json()
    selector = api.get(DEPLOYMENT).json()["spec"]["selector"]
    newer = AS_OF_THEN | {"gates": {"metrics": [{"name": "auc", "min": 0.8}]}}
    assert "unknown field" in create(api, "newer", newer).text

    helm("upgrade", "model-operator", str(CHART), "--reset-then-reuse-values")

    after = api.get(f"{MODEL_DEPLOYMENTS}/churn").json()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "the spec was not touched"
    assert _holds(after["spec"], before["spec"]), "what stood there stands there"
    assert create(api, "newer", newer).status_code == 201
    assert api.get(DEPLOYMENT).json()["spec"]["selector"] == selector
    configuration = api.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/model-operator").json()
    assert "pollSeconds: 7" in configuration["data"]["config.yaml"], "the values of the release are kept"


@pytest.mark.usefixtures("swept")
def test_reuse_values_alone_can_not_carry_a_release_over_new_values(helm: Program) -> None:
    """Helm then renders without the new chart's defaults; the pages therefore name the other flag."""
    helm("install", "model-operator", str(FIRST), "--create-namespace")

    with pytest.raises(RefusedError, match="nil pointer"):
        helm("upgrade", "model-operator", str(CHART), "--reuse-values")


@pytest.mark.usefixtures("swept")
def test_from_no_values_to_every_option_and_back_again(
    helm: Program, api: httpx.Client, tmp_path: Path
) -> None:
    for namespace in ("crm", "shop"):
        api.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
    every_option = {**EXISTING_SECRETS, **AROUND_THE_OPERATOR, **WEBHOOKS}
    helm("install", "model-operator", str(CHART), "--create-namespace")
    assert create(api, "churn", AS_OF_THEN).status_code == 201
    before = api.get(DEPLOYMENT).json()

    helm("upgrade", "model-operator", str(CHART), "--values", values_file(tmp_path, every_option))
    roles = "/apis/rbac.authorization.k8s.io/v1"
    assert api.get(f"{roles}/clusterrolebindings/model-operator").status_code == 404
    assert api.get(f"{roles}/namespaces/crm/rolebindings/model-operator").status_code == 200
    policy = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies/model-operator"
    assert api.get(policy).status_code == 200

    helm("upgrade", "model-operator", str(CHART), "--reset-values")
    assert api.get(f"{roles}/clusterrolebindings/model-operator").status_code == 200
    assert api.get(f"{roles}/namespaces/crm/rolebindings/model-operator").status_code == 404
    assert api.get(policy).status_code == 404
    after = api.get(DEPLOYMENT).json()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["template"] == before["spec"]["template"]
    assert api.get(f"{MODEL_DEPLOYMENTS}/churn").json()["metadata"]["generation"] == 1


@pytest.mark.usefixtures("swept")
def test_a_crd_that_somebody_applied_is_taken_over_only_when_helm_is_told_to(
    helm: Program, kubectl: Program, api: httpx.Client
) -> None:
    kubectl("apply", "--server-side", "-f", str(ROOT / "crds" / "modeldeployments.yaml"))
    uid = api.get(CRD).json()["metadata"]["uid"]

    with pytest.raises(RefusedError, match="cannot be imported into the current release"):
        helm("install", "model-operator", str(CHART), "--create-namespace")
    helm("install", "model-operator", str(CHART), "--create-namespace", "--take-ownership")

    assert api.get(CRD).json()["metadata"]["uid"] == uid


@pytest.mark.usefixtures("swept")
def test_where_the_crd_is_applied_by_hand_the_release_leaves_it_alone_and_kubectl_upgrades_it(
    helm: Program, kubectl: Program, api: httpx.Client
) -> None:
    helm("install", "model-operator", str(FIRST), "--create-namespace")
    assert create(api, "churn", AS_OF_THEN).status_code == 201
    helm("upgrade", "model-operator", str(CHART), "--set", "crd.install=false")
    older = api.get(CRD).json()
    newer = AS_OF_THEN | {"gates": {"metrics": [{"name": "auc", "min": 0.8}]}}
    assert "unknown field" in create(api, "newer", newer).text, "it is still that of the first chart"

    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds" / "modeldeployments.yaml"))

    assert api.get(CRD).json()["metadata"]["uid"] == older["metadata"]["uid"]
    assert create(api, "newer", newer).status_code == 201
    assert api.get(f"{MODEL_DEPLOYMENTS}/churn").status_code == 200


@pytest.mark.usefixtures("swept")
def test_a_rollback_of_the_release_takes_the_crd_back_and_what_it_did_not_know_is_lost(
    helm: Program, api: httpx.Client
) -> None:
    """Why the pages say to keep the newer CRD (crd.install=false) when going back."""
    helm("install", "model-operator", str(FIRST), "--create-namespace")
    helm("upgrade", "model-operator", str(CHART), "--reset-then-reuse-values")
    newer = AS_OF_THEN | {"gates": {"metrics": [{"name": "auc", "min": 0.8}]}}
    assert create(api, "newer", newer).status_code == 201

    helm("rollback", "model-operator", "1")

    assert "metrics" not in api.get(f"{MODEL_DEPLOYMENTS}/newer").json()["spec"].get("gates", {})
