"""The registry away, or its credentials missing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.e2e.stage import BETTER, GOOD, LOGS_ITSELF, MODEL, Stage, followed
from tests.mlflow_server import MlflowServer, alias
from tests.workbench import Namespace
from tests.workbench.cluster import POD_SECRET, make_pod_secret


def test_a_registry_that_does_not_answer_changes_nothing_but_the_condition(stage: Stage) -> None:
    stage.create_serving("iris")
    cluster = stage.cluster
    pods = {pod["metadata"]["uid"] for pod in cluster.pods("iris")}
    with frozen(stage.registry):
        condition = cluster.until_condition("iris", "Resolved", "Unknown", "RegistryUnreachable")
        assert stage.registry.url in condition["message"]
        assert cluster.condition("iris", "Ready")["status"] == "True"
        cluster.delete("Service", "iris")
        cluster.until("drift is repaired without a registry", lambda: cluster.get("Service", "iris"))
    cluster.until_condition("iris", "Resolved", "True", "Resolved")
    cluster.until_serving("iris", GOOD)
    assert {pod["metadata"]["uid"] for pod in cluster.pods("iris")} == pods
    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)


@pytest.mark.full
def test_a_version_is_fetched_by_its_run_and_not_from_the_servers_own_disk(stage: Stage) -> None:
    cluster, name = stage.cluster, f"by-run-{stage.cluster.name}"
    with stage.registry.api() as api:
        known = api.get("model-versions/get", params={"name": MODEL, "version": BETTER}).json()
        run = known["model_version"]["run_id"]
        elsewhere = {"name": name, "artifact_location": "/srv/mlruns"}
        experiment = api.post("experiments/create", json=elsewhere).json()["experiment_id"]
        local = api.post("runs/create", json={"experiment_id": experiment}).json()["run"]["info"]
        api.post("registered-models/create", json={"name": name})
        for source, of in (
            (f"runs:/{run}/model", run),
            (f"{local['artifact_uri']}/model", local["run_id"]),
        ):
            version = {"name": name, "source": source, "run_id": of}
            api.post("model-versions/create", json=version)
    cluster.create("iris", followed("", model={"name": name, "version": "1"}))
    cluster.until_serving("iris", "1")
    cluster.commit("iris", {"model": {"version": "2"}})
    rejection = cluster.until_rejected("iris", "2")
    assert (rejection["side"], rejection["reason"]) == ("Configuration", "FetchMisconfigured")
    assert "a path on the machine of the MLflow server" in rejection["message"]


@pytest.mark.full
def test_a_model_that_logs_while_it_predicts_serves_as_a_user_without_a_name(stage: Stage) -> None:
    stage.create("iris", LOGS_ITSELF)
    stage.cluster.until_serving("iris", LOGS_ITSELF)


def test_a_prompt_is_no_model_and_starts_no_pod(bare_namespace: Namespace, registry: MlflowServer) -> None:
    cluster, prompt = bare_namespace, f"greeting-{bare_namespace.name}"
    tags = [
        {"key": "mlflow.prompt.is_prompt", "value": "true"},
        {"key": "mlflow.prompt.text", "value": "Hello"},
    ]
    with registry.api() as api:
        api.post("registered-models/create", json={"name": prompt, "tags": tags[:1]})
        api.post("model-versions/create", json={"name": prompt, "source": "prompt-template", "tags": tags})
        api.post("registered-models/alias", json={"name": prompt, "alias": "champion", "version": "1"})
    make_pod_secret(cluster, registry)
    cluster.create("greeting", {"model": {"name": prompt, "alias": "champion"}})
    condition = cluster.until_condition("greeting", "Resolved", "False", "ModelNotFound")
    assert f"'{prompt}' is a prompt, not a model" in condition["message"]
    assert cluster.pods("greeting") == []


def test_a_missing_credentials_secret_is_named_and_once_it_is_there_all_goes_on(
    bare_namespace: Namespace, registry: MlflowServer
) -> None:
    cluster = bare_namespace
    alias(registry, MODEL, cluster.name, GOOD)
    cluster.create("iris", followed(cluster.name))
    condition = cluster.until_condition("iris", "Ready", "False", "CredentialsMissing")
    assert POD_SECRET in condition["message"]
    assert cluster.pods("iris") == []
    make_pod_secret(cluster, registry)
    cluster.until_serving("iris", GOOD)


@pytest.mark.full
def test_a_secret_without_the_right_keys_is_named(bare_namespace: Namespace, registry: MlflowServer) -> None:
    cluster = bare_namespace
    alias(registry, MODEL, cluster.name, GOOD)
    cluster.post("Secret", {"metadata": {"name": POD_SECRET}, "stringData": {"user": "somebody"}})
    cluster.create("iris", followed(cluster.name))
    condition = cluster.until_condition("iris", "Ready", "False", "CredentialsMissing")
    assert POD_SECRET in condition["message"]
    assert "username" in condition["message"]


@pytest.mark.full
def test_a_wrong_password_is_no_fault_of_the_model_and_once_it_is_right_all_goes_on(
    bare_namespace: Namespace, registry: MlflowServer
) -> None:
    cluster = bare_namespace
    alias(registry, MODEL, cluster.name, GOOD)
    make_pod_secret(cluster, replace(registry, password="wrong"))
    cluster.create("iris", followed(cluster.name))
    cluster.until_condition("iris", "Ready", "False", "FirstVersionFailed")
    rejection = cluster.status("iris")["rejected"][0]
    assert (rejection["side"], rejection["reason"]) == ("Configuration", "StoreRefused")
    cluster.patch("Secret", POD_SECRET, {"stringData": {"password": registry.password}})
    cluster.until_serving("iris", GOOD)


@contextmanager
def frozen(registry: MlflowServer) -> Iterator[None]:
    """The server takes connections for the time of the block and answers none."""
    os.killpg(registry.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(registry.pid, signal.SIGCONT)
