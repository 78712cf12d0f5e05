"""``kubectl model`` as people and pipelines run it: real kubectl, real API server, a living operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.binaries import ensure
from tests.fork_server import KUBECTL_MODEL
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')
FINE, FAILED, TIMEOUT, NOT_FOUND, NO_ANSWER = 0, 1, 3, 4, 5

Kubectl = Callable[..., tuple[int, str]]


INSTALLED = Path(sys.executable).parent
"""Where the package was installed, and kubectl-model with it."""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory with a kubectl-model that has its imports done; all the rest is as with the installed one."""
    directory = tmp_path / "plugins"
    directory.mkdir()
    KUBECTL_MODEL.program(directory / "kubectl-model", "model_operator.cli")
    return directory


@pytest.fixture
def kubectl(bench: Bench, control_plane: Path, plugins: Path) -> Kubectl:
    """Runs `kubectl model ...` in the test's namespace; exit code, and all that was said on 80 columns.

    With ``installed`` kubectl finds the program that the package brings.
    """
    # kubectl looks for kubectl-model on PATH
    path = f"{plugins}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "KUBECONFIG": str(control_plane),
        "COLUMNS": "80",
        "LANG": "C.UTF-8",
    }
    environment.pop("NO_COLOR", None)

    def run(*words: str, installed: bool = False, **variables: str) -> tuple[int, str]:
        if installed:
            variables["PATH"] = f"{INSTALLED}:{os.environ['PATH']}"
        command = [str(ensure("kubectl")["kubectl"]), "model", *words]
        if words[0] not in ("lint", "digest"):
            command += ["-n", bench.namespace]
        ended = subprocess.run(
            command, capture_output=True, text=True, env=environment | variables, timeout=120, check=False
        )
        said = ended.stdout + ended.stderr
        assert "Traceback" not in said, said
        assert all(len(line) <= 80 for line in ended.stdout.splitlines() if "-o" not in words), said
        return ended.returncode, said

    return run


def followed(model: str, **spec: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, "replicas": 2, **spec}


def words(text: str) -> str:
    """The text without its line breaks and the tree's lines."""
    return " ".join(text.replace("│", " ").split())


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn that serves version 1; returns the model's name."""
    bench.create("churn", followed(model))
    bench.until_serving("churn", 1)
    bench.until_at_rest("churn")
    return model


def test_a_pipeline_waits_for_the_version_whose_alias_it_has_set(
    bench: Bench, kubectl: Kubectl, model: str
) -> None:
    bench.create("churn", followed(model))
    assert kubectl("status", "churn", "--wait", "--version", "1", "--timeout", "60s")[0] == FINE

    bench.kubelet.scripts[(model, "2")] = LOAD_FAILED
    bench.alias(model, "champion", 2)
    code, said = kubectl("status", "churn", "--wait", "--version", "2", "--timeout", "60s")
    assert code == FAILED
    assert "VersionRejected: version 2 was rejected (LoadFailed): ValueError: the pickle is broken" in words(
        said
    )
    assert "kubectl model retry churn" in words(said)

    bench.kubelet.scripts[(model, "3")] = Script(stuck=True)
    bench.alias(model, "champion", 3)
    bench.until_condition("churn", "Current", "False", "InsufficientCapacity")
    code, said = kubectl("status", "churn", "--wait", "--version", "3", "--timeout", "2s")
    assert code == TIMEOUT
    assert "not within 2s: InsufficientCapacity" in words(said)

    code, said = kubectl("status", "nobody", "--wait", installed=True)
    assert code == NOT_FOUND
    assert f"there is no ModelDeployment nobody in namespace {bench.namespace}" in words(said)
    code, said = kubectl("status", "chrun")
    assert code == NOT_FOUND
    assert "did you mean churn?" in said


def test_what_is_seen_is_what_is_there(bench: Bench, kubectl: Kubectl, churn: str) -> None:
    code, said = kubectl("status", "churn", installed=True)
    assert code == FINE
    pods = [pod["metadata"]["name"] for pod in bench.items("Pod")]
    assert len(pods) == 2
    assert all(f"✔ {pod}  ready" in said for pod in pods)
    assert f"{churn}@champion → version 1" in said

    found = json.loads(kubectl("status", "churn", "-o", "json", installed=True)[1])
    assert found["outcome"]["verdict"] == "Current"
    assert found["status"]["serving"]["version"] == "1"
    assert {pod["name"] for pod in found["pods"]} == set(pods)
    assert yaml.safe_load(kubectl("get", "-o", "yaml")[1])["items"][0]["name"] == "churn"
    assert "churn" in kubectl("get", "churn", "-o", "wide")[1]
    assert "serving, in its watch window" in kubectl("history", "churn")[1]
    assert "no rollout is planned" in kubectl("plan", "churn")[1]
    assert kubectl("status", "churn", installed=True, LC_ALL="C")[1].isascii()


def test_a_rejected_version_is_tried_again_when_a_person_asks(
    bench: Bench, kubectl: Kubectl, churn: str
) -> None:
    code, said = kubectl("retry", "churn")
    assert code == FINE
    assert "nothing to retry" in said
    bench.kubelet.scripts[(churn, "2")] = LOAD_FAILED
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until_at_rest("churn")

    del bench.kubelet.scripts[(churn, "2")]
    code, said = kubectl("retry", "churn", "--wait", "--timeout", "60s")
    assert code == FINE, said
    assert "the operator has accepted the request" in said
    assert bench.status("churn")["serving"]["version"] == "2"


def test_a_person_goes_back_holds_and_lets_go(bench: Bench, kubectl: Kubectl, churn: str) -> None:
    code, said = kubectl("revert", "churn")
    assert code == FAILED
    assert "has no earlier version" in words(said)
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    bench.until_at_rest("churn")

    code, said = kubectl("revert", "churn", "--to", "77")
    assert code == FAILED
    assert "77 is not kept" in said
    assert "(version 1)" in words(said)

    for to in (["--to", "1"], []):
        code, said = kubectl("revert", "churn", *to, "--wait", "--timeout", "60s")
        assert code == FINE, said
        assert bench.status("churn")["serving"]["version"] == "1"
        assert "held until you run: kubectl model release churn" in words(said)
        code, said = kubectl("restart", "churn")
        assert code == FAILED
        assert "a restart waits until you release it" in words(said)
        code, said = kubectl("release", "churn", "--wait", "--timeout", "60s")
        assert code == FINE, said
        assert bench.status("churn")["serving"]["version"] == "2"
        bench.until_at_rest("churn")
    assert "nothing to release" in kubectl("release", "churn")[1]

    before = bench.pod_uids()
    assert kubectl("restart", "churn")[0] == FINE
    bench.until(
        "all pods are new", lambda: len(bench.pod_uids()) == 2 and before.isdisjoint(bench.pod_uids())
    )


def test_a_person_agrees_suspends_and_lets_go_on(bench: Bench, kubectl: Kubectl, model: str) -> None:
    flux = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    bench.create("churn", followed(model, gates={"approval": {"mode": "Manual"}}), labels=flux)
    bench.until_condition("churn", "Current", "False", "WaitingForApproval")
    code, said = kubectl("status", "churn", "--wait", "--timeout", "2s")
    assert code == TIMEOUT
    assert f"kubectl model approve churn 1 -n {bench.namespace}" in words(said)
    assert "2 pods are started" in kubectl("plan", "churn")[1]

    code, said = kubectl("approve", "churn", "--dry-run")
    assert code == FINE
    assert yaml.safe_load(said)["spec"] == {"gates": {"approval": {"approved": "1"}}}
    assert bench.condition("churn", "Current")[1] == "WaitingForApproval"
    code, said = kubectl("approve", "churn", "one")
    assert code == FAILED
    assert "must be a version number" in words(said)

    code, said = kubectl("approve", "churn")
    assert code == FINE
    assert "the Flux Kustomization apps manages this object" in words(said)
    bench.until_serving("churn", 1)
    written = bench.get("ModelDeployment", "churn")
    assert written
    assert "model-operator-cli" in {entry["manager"] for entry in written["metadata"]["managedFields"]}
    code, said = kubectl("approve", "churn")
    assert code == FAILED
    assert "no version of churn waits for approval" in words(said)

    assert kubectl("suspend", "churn")[0] == FINE
    bench.until_observed("churn")
    bench.alias(model, "champion", 2)
    bench.until_condition("churn", "Current", "False", "Suspended")
    code, said = kubectl("status", "churn", "--wait")
    assert code == FAILED
    assert "kubectl model resume churn" in words(said)
    assert kubectl("resume", "churn")[0] == FINE
    bench.until_condition("churn", "Current", "False", "WaitingForApproval")
    assert "already" in kubectl("resume", "churn")[1]


def test_a_request_that_nobody_hears_is_told(bench: Bench, kubectl: Kubectl, churn: str) -> None:
    bench.patch("ModelDeployment", "churn", {"spec": {"suspend": True}})
    bench.until_observed("churn")
    code, said = kubectl("restart", "churn")
    assert code == FAILED
    assert "is suspended: the operator handles the request" in words(said)


def test_a_user_without_rights_gets_a_sentence(
    bench: Bench, kubectl: Kubectl, churn: str, control_plane: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load(control_plane.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": "nobody"}} for user in config["users"]]
    stranger = tmp_path / "stranger"
    stranger.write_text(yaml.safe_dump(config))
    code, said = kubectl("status", "churn", "--kubeconfig", str(stranger))
    assert code == NO_ANSWER
    assert "the API server does not know who you are" in words(said)

    accounts = f"/api/v1/namespaces/{bench.namespace}/serviceaccounts"
    bench.api.http.post(accounts, json={"metadata": {"name": "stranger"}}).raise_for_status()
    asked = bench.api.http.post(f"{accounts}/stranger/token", json={"spec": {}}).raise_for_status()
    token = asked.json()["status"]["token"]
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    stranger.write_text(yaml.safe_dump(config))
    for command in (["get"], ["status", "churn"], ["retry", "churn"]):
        code, said = kubectl(*command, "--kubeconfig", str(stranger))
        assert code == NO_ANSWER
        assert "is forbidden" in words(said)
        assert "request that right" in words(said)


def test_the_doctor_finds_no_operator_where_none_is_installed(
    bench: Bench, kubectl: Kubectl, churn: str
) -> None:
    code, said = kubectl("doctor")
    assert code == FAILED
    assert "no Deployment of an operator was found" in words(said)
    assert "v1alpha1 is served and matches this program" in words(said)


def test_a_digest_is_written_to_the_registry_once(
    bench: Bench, kubectl: Kubectl, model: str, tmp_path: Path
) -> None:
    directory = tmp_path / "model"  # the operator writes its log beside it
    directory.mkdir()
    (directory / "MLmodel").write_text("flavors: {}\n")
    registry = {
        "MLFLOW_TRACKING_URI": bench.mlflow.url,
        "MLFLOW_TRACKING_USERNAME": bench.mlflow.username,
        "MLFLOW_TRACKING_PASSWORD": bench.mlflow.password,
    }
    tag = ("digest", str(directory), "--tag", f"models:/{model}/1")
    code, said = kubectl(*tag, **registry)
    assert code == FINE, said
    digest = bench.tags(model, 1)["sha256"]
    assert digest in said
    assert kubectl(*tag, **registry)[0] == FINE

    (directory / "MLmodel").write_text("flavors: {changed: {}}\n")
    code, said = kubectl(*tag, **registry)
    assert code == FAILED
    assert "has another value" in words(said)
    assert bench.tags(model, 1)["sha256"] == digest
    assert kubectl(*tag, "--force", **registry)[0] == FINE
    assert bench.tags(model, 1)["sha256"] != digest

    code, said = kubectl(*tag[:2], "--tag", f"models:/{model}/99", **registry)
    assert code == NOT_FOUND
    code, said = kubectl(*tag, **(registry | {"MLFLOW_TRACKING_PASSWORD": "hunter2"}))
    assert code == NO_ANSWER
    assert "requires valid credentials" in words(said)
    assert "hunter2" not in said
