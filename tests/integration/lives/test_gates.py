"""Versions that a real registry describes, kept out and let in on a real API server."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.integration.lives.bench import Bench


def gated(model: str, **gates: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, "replicas": 1, "gates": gates}


@pytest.fixture
def measured(bench: Bench) -> str:
    """A model whose two versions come from runs that logged no metric yet."""
    name = f"measured-{bench.namespace}"
    with bench.mlflow.api() as api:
        api.post("registered-models/create", json={"name": name})
        for _ in range(2):
            run = api.post("runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
            source = f"s3://nowhere/{run}"
            api.post("model-versions/create", json={"name": name, "source": source, "run_id": run})
    bench.alias(name, "champion", 1)
    return name


def tag(bench: Bench, model: str, version: int, **tags: str) -> None:
    with bench.mlflow.api() as api:
        for key, value in tags.items():
            body = {"name": model, "version": str(version), "key": key, "value": value}
            api.post("model-versions/set-tag", json=body)


def log(bench: Bench, model: str, version: int, metric: str, value: float | str) -> None:
    """Logs a metric to the run of the version; NaN is a text on MLflow's wire."""
    with bench.mlflow.api() as api:
        params = {"name": model, "version": str(version)}
        run = api.get("model-versions/get", params=params).json()["model_version"]["run_id"]
        now = int(time.time() * 1000)
        api.post("runs/log-metric", json={"run_id": run, "key": metric, "value": value, "timestamp": now})


def test_a_version_waits_at_each_gate_until_it_is_mended(bench: Bench, measured: str) -> None:
    tag(bench, measured, 1, status="approved")
    log(bench, measured, 1, "auc", 0.9)
    gates = {
        "tags": [{"key": "status", "value": "approved"}],
        "metrics": [{"name": "auc", "min": 0.8, "noWorseThanServingBy": 0.02, "better": "Higher"}],
    }
    bench.create("churn", gated(measured, **gates))
    bench.until_serving("churn", 1)
    bench.until_condition("churn", "Admitted", "True", "Admitted")

    bench.alias(measured, "champion", 2)
    bench.until_condition("churn", "Admitted", "False", "TagMissing")
    assert bench.condition("churn", "Ready") == ("True", "Serving")
    assert bench.status("churn")["plan"]["to"] == "2"
    tag(bench, measured, 2, status="approved")
    bench.until_condition("churn", "Admitted", "False", "MetricMissing")
    log(bench, measured, 2, "auc", "NaN")
    bench.until_condition("churn", "Admitted", "False", "MetricNotFinite")
    log(bench, measured, 2, "auc", 0.7)
    bench.until_condition("churn", "Admitted", "False", "MetricOutOfBounds")
    log(bench, measured, 2, "auc", 0.85)
    bench.until_condition("churn", "Admitted", "False", "MetricWorse")
    log(bench, measured, 2, "auc", 0.89)
    bench.until_serving("churn", 2)
    bench.until_condition("churn", "Admitted", "True", "Admitted")
    (refused,) = bench.until_event("churn", "TagMissing")
    assert "has no tag status=approved" in refused


def test_a_version_that_cannot_be_read_is_let_in_by_a_reviewed_commit(bench: Bench, model: str) -> None:
    bench.create("churn", gated(model))
    bench.until_serving("churn", 1)
    gates = {"inputExample": "Required"}
    bench.patch("ModelDeployment", "churn", {"spec": {"gates": gates}})
    bench.alias(model, "champion", 2)
    bench.until_condition("churn", "Admitted", "False", "FactsUnreadable")
    message = next(c["message"] for c in bench.status("churn")["conditions"] if c["type"] == "Admitted")
    assert f"MLmodel of version 2 of model '{model}'" in message
    overrides = [{"gate": "InputExample", "approved": 2}]
    bench.patch("ModelDeployment", "churn", {"spec": {"gates": {**gates, "overrides": overrides}}})
    bench.until_serving("churn", 2)
    bench.alias(model, "champion", 3)
    bench.until_condition("churn", "Admitted", "False", "FactsUnreadable")
    assert bench.status("churn")["serving"]["version"] == "2"


def test_at_a_gate_nothing_is_written_while_nothing_changes(bench: Bench, measured: str) -> None:
    bench.create("churn", {**gated(measured), "rollout": {"watchSeconds": 0}})
    bench.until_settled("churn", 1)
    gates = {"metrics": [{"name": "auc", "min": 0.8}]}
    bench.patch("ModelDeployment", "churn", {"spec": {"gates": gates}})
    log(bench, measured, 2, "auc", "NaN")
    bench.alias(measured, "champion", 2)
    bench.until_condition("churn", "Admitted", "False", "MetricNotFinite")
    bench.until_at_rest("churn")
    # the other gates may still wait for their facts
    bench.until_quiet()
    with bench.nothing_is_written(4):
        pass
