"""The Helm chart on a real API server: what an install makes and permits, what an uninstall leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import yaml
from tests.integration.chart.programs import CHART, MODEL_DEPLOYMENTS, NAMESPACE, Program

OPERATOR = f"system:serviceaccount:{NAMESPACE}:model-operator"


def _may(
    api: httpx.Client, verb: str, resource: str, namespace: str = "default", group: str = "", name: str = ""
) -> bool:
    """Whether the operator's account may do that, as the API server's own authorizer sees it."""
    resource, _, subresource = resource.partition("/")
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    answer = api.post(
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        json={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": OPERATOR, "resourceAttributes": attributes},
        },
    )
    return bool(answer.raise_for_status().json()["status"]["allowed"])


def _taught_manifest(notes: str) -> dict[str, Any]:
    _, _, rest = notes.partition("kubectl apply -f - <<'EOF'\n")
    manifest, end, _ = rest.partition("\nEOF\n")
    assert end, notes
    return dict(yaml.safe_load(manifest))


def test_an_install_is_accepted_and_so_is_the_manifest_that_its_notes_teach(
    install: Callable[..., str], api: httpx.Client
) -> None:
    notes = install("registries.default.podCredentials.secret=mlflow-reader")
    deployment = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/model-operator")

    assert deployment.raise_for_status().json()["spec"]["replicas"] == 1
    assert "kubectl -n default create secret generic mlflow-reader" in notes
    api.post(MODEL_DEPLOYMENTS, json=_taught_manifest(notes)).raise_for_status()


def test_the_operators_pod_is_admitted_where_only_restricted_pods_are(
    install: Callable[..., str], api: httpx.Client
) -> None:
    install("registries.default.credentials.token=t", "registries.default.ca.configMap=company-ca")
    api.patch(
        f"/api/v1/namespaces/{NAMESPACE}",
        headers={"Content-Type": "application/merge-patch+json"},
        json={"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    ).raise_for_status()
    deployment = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/model-operator").json()

    def admission(spec: dict[str, Any]) -> httpx.Response:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec}
        return api.post(f"/api/v1/namespaces/{NAMESPACE}/pods", params={"dryRun": "All"}, json=pod)

    spec = deployment["spec"]["template"]["spec"]
    admitted, refused = admission(spec), admission({**spec, "hostNetwork": True})

    assert admitted.status_code == 201, admitted.text
    assert "violates PodSecurity" in refused.text


def test_the_operator_may_do_what_it_does_and_nothing_that_it_does_not(
    install: Callable[..., str], api: httpx.Client
) -> None:
    install("registries.default.podCredentials.secret=mlflow-reader")

    assert _may(api, "watch", "modeldeployments", group="model-operator.io", namespace="")
    assert _may(api, "patch", "modeldeployments/status", group="model-operator.io")
    assert _may(api, "patch", "deployments/scale", group="apps")
    assert _may(api, "create", "controllerrevisions", group="apps")
    assert _may(api, "patch", "horizontalpodautoscalers", group="autoscaling")
    assert _may(api, "delete", "poddisruptionbudgets", group="policy")
    assert _may(api, "list", "pods", namespace="")
    assert _may(api, "create", "events")
    assert _may(api, "get", "secrets", name="mlflow-reader")

    assert not _may(api, "patch", "modeldeployments", group="model-operator.io")
    assert not _may(api, "get", "secrets", name="another")
    assert not _may(api, "list", "secrets")
    assert not _may(api, "watch", "secrets", namespace="")
    assert not _may(api, "delete", "pods")
    assert not _may(api, "get", "pods/log")
    assert not _may(api, "create", "pods/exec")
    assert not _may(api, "list", "namespaces", namespace="")
    assert not _may(api, "create", "leases", group="coordination.k8s.io")
    lease = {"group": "coordination.k8s.io", "namespace": NAMESPACE, "name": "model-operator"}
    assert _may(api, "get", "leases", **lease)
    assert _may(api, "patch", "leases", **lease)
    assert not _may(api, "patch", "leases", **{**lease, "name": "another"})
    assert not _may(api, "delete", "leases", **lease)
    assert not _may(api, "create", "clusterrolebindings", group="rbac.authorization.k8s.io", namespace="")


def test_watching_one_namespace_gives_no_right_in_another(
    install: Callable[..., str], api: httpx.Client
) -> None:
    install("watchNamespaces={default}")

    assert _may(api, "list", "modeldeployments", group="model-operator.io")
    assert not _may(api, "list", "modeldeployments", group="model-operator.io", namespace="kube-system")
    assert not _may(api, "list", "modeldeployments", group="model-operator.io", namespace="")


def test_an_uninstall_keeps_the_crd_and_every_model_deployment_for_the_next_install(
    install: Callable[..., str], helm: Program, api: httpx.Client
) -> None:
    install()
    api.post(
        MODEL_DEPLOYMENTS,
        json={
            "apiVersion": "model-operator.io/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "iris"},
            "spec": {"model": {"uri": "models:/iris@champion"}, "replicas": 1},
        },
    ).raise_for_status()
    helm("uninstall", "model-operator")
    kept = api.get(f"{MODEL_DEPLOYMENTS}/iris").raise_for_status().json()
    install()

    assert api.get(f"{MODEL_DEPLOYMENTS}/iris").raise_for_status().json()["metadata"] == kept["metadata"]


def test_an_upgrade_with_another_configuration_changes_the_pod_and_keeps_the_selector(
    install: Callable[..., str], helm: Program, api: httpx.Client
) -> None:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/model-operator"
    install()
    before = api.get(path).raise_for_status().json()["spec"]
    helm("upgrade", "model-operator", str(CHART), "--set", "pollSeconds=30")
    after = api.get(path).raise_for_status().json()["spec"]

    assert after["selector"] == before["selector"]
    assert after["template"]["metadata"]["annotations"] != before["template"]["metadata"]["annotations"]
