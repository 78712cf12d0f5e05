"""``kubectl model doctor`` on an API server with the chart, by the real helm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cluster.control_plane import ControlPlane
from tests.integration.chart.programs import MODEL_DEPLOYMENTS
from tests.mlflow_server import MlflowServer, shared_servers


def _doctor(plane: ControlPlane, *words: str) -> dict[str, list[dict[str, str]]]:
    """What `kubectl model doctor` finds, by its level."""
    program = Path(sys.executable).with_name("kubectl-model")
    command = [program, "doctor", "--kubeconfig", plane.kubeconfig, "-o", "json", *words]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(ended.stdout)["findings"]:
        found.setdefault(finding["level"], []).append(finding)
    assert ended.returncode == (1 if found.get("problem") else 0), ended.stderr
    return found


def test_the_doctor_asks_for_the_rights_that_the_chart_gives(plane, api, install):
    install(
        "registries.default.url=http://mlflow.mlflow.svc:5000",
        "registries.default.podCredentials.secret=mlflow-reader",
        "webhooks.enabled=true",
        "webhooks.secretName=absent",
    )
    body = {
        "apiVersion": "model-operator.io/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "churn"},
        "spec": {"model": {"name": "churn", "alias": "champion"}},
    }
    assert api.post(MODEL_DEPLOYMENTS, json=body).status_code == 201
    found = _doctor(plane)
    good = " ".join(finding["message"] for finding in found["good"])
    assert "it has the rights that it needs" in good, found["problem"]
    assert "v1alpha1 is served and matches this program" in good
    problems = " ".join(f"{finding['subject']}: {finding['message']}" for finding in found["problem"])
    # nothing runs on this control plane, and there is neither a registry nor a Secret
    assert "operator model-operator-system/model-operator: none of 1 pods is ready" in problems
    assert "Service mlflow/mlflow, which does not exist" in problems
    assert "pods' Secret default/mlflow-reader: it does not exist" in problems
    assert "there is no secret to check deliveries with" in problems

    rights = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/model-operator"
    assert api.delete(rights).status_code == 200
    [denied] = [f for f in _doctor(plane)["problem"] if "it may not" in f["message"]]
    assert "modeldeployments" in denied["message"]


def test_the_doctor_meets_the_guard_of_the_host_header(plane, install, tmp_path):
    install("registries.default.url=http://mlflow.example.com:5000")
    found = _doctor(plane, "--registry-at", shared_servers.with_users().url)
    [refused] = [f for f in found["problem"] if f["subject"] == "registry default"]
    assert "MLflow rejects the host name mlflow.example.com:5000" in refused["message"]
    assert "--allowed-hosts and mlflow.example.com:5000" in refused["remedy"]
    server = MlflowServer.start(tmp_path / "again", allowed_hosts=["mlflow.example.com:5000"])
    try:
        found = _doctor(plane, "--registry-at", server.url)
    finally:
        server.stop()
    assert "answers to the host name mlflow.example.com:5000" in {f["message"] for f in found["good"]}
