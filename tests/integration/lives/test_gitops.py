"""What a GitOps tool finds when it compares Git with the cluster, after the operator has worked."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.lives.bench import MODELDEPLOYMENTS, Bench

from model_operator.api import names

Json = dict[str, Any]

APPLY = {"Content-Type": "application/apply-patch+yaml"}


def in_git(bench: Bench, model: str) -> Json:
    """The manifest with the labels that such a tool puts to it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": "churn",
            "namespace": bench.namespace,
            "labels": {"app.kubernetes.io/instance": "models-crm"},
        },
        "spec": {
            "model": {"name": model, "alias": "champion"},
            "autoscaling": {"minReplicas": 2, "maxReplicas": 10},
            "server": {
                "resources": {"requests": {"cpu": "0.25", "memory": "512Mi"}, "limits": {"memory": "1024Mi"}}
            },
        },
    }


def applied(bench: Bench, manifest: Json, manager: str, dry_run: bool = False) -> Json:
    """Server-side apply without force; what the API server has, or would have, after it."""
    params = {"fieldManager": manager} | ({"dryRun": "All"} if dry_run else {})
    path = f"{MODELDEPLOYMENTS.format(bench.namespace)}/churn"
    answer = bench.api.http.patch(path, params=params, headers=APPLY, content=json.dumps(manifest))
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def without_managers(found: Json) -> Json:
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return found | {"metadata": metadata}


def test_there_is_no_diff_after_the_operator_has_worked(bench: Bench, model: str) -> None:
    # the first start of a process takes its time on a busy machine
    bench.until("the operator is at work", bench.operator.starts, seconds=200)
    manifest = in_git(bench, model)
    applied(bench, manifest, "argocd-controller")
    bench.until_serving("churn", 1)
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until_at_rest("churn")

    live = bench.get("ModelDeployment", "churn")
    assert live
    for manager in ("argocd-controller", "kustomize-controller"):
        wanted = applied(bench, manifest, manager, dry_run=True)
        assert without_managers(wanted) == without_managers(live), manager
    # the API server fills in the CRD's defaults; what Git says stands as Git has it
    assert _as_written(live["spec"], manifest["spec"]) == manifest["spec"]
    assert live["metadata"]["labels"] == manifest["metadata"]["labels"]
    assert "annotations" not in live["metadata"]
    written = {entry["manager"]: entry for entry in live["metadata"]["managedFields"]}
    assert written[names.FIELD_MANAGER]["subresource"] == "status", (
        "the operator owns the status and nothing else"
    )


def _as_written(found: Json, manifest: Json) -> Json:
    """Of what was found, the fields that the manifest has."""
    return {
        key: _as_written(found[key], value) if isinstance(value, dict) else found[key]
        for key, value in manifest.items()
    }


def test_another_alias_is_one_commit(bench: Bench, model: str) -> None:
    manifest = in_git(bench, model)
    applied(bench, manifest, "argocd-controller")
    bench.until_serving("churn", 1)
    bench.alias(model, "canary", 2)
    manifest["spec"]["model"]["alias"] = "canary"
    applied(bench, manifest, "argocd-controller")
    bench.until_serving("churn", 2)
    assert bench.status("churn")["alias"] == "@canary"


def test_children_are_not_taken_for_the_tools_own(bench: Bench, model: str) -> None:
    applied(bench, in_git(bench, model), "argocd-controller")
    bench.until_serving("churn", 1)
    for kind in (
        "Deployment",
        "Service",
        "ControllerRevision",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
    ):
        for child in bench.items(kind):
            # Argo CD tells by this label what belongs to an application, and would prune what is not in Git
            assert child["metadata"]["labels"]["app.kubernetes.io/instance"] == "churn", kind
            assert child["metadata"]["ownerReferences"][0]["controller"] is True
