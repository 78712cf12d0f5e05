"""What has to be true before a version takes requests, and what a serving pod tells about itself."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.stage import BETTER, GOOD, MODEL, SEALED, Stage
from tests.workbench.load_script import BODY

full = pytest.mark.full
PORT = 80
SEALS = {"integrity": {"required": True}}
BEFORE_TRAFFIC = {"approval": {"mode": "Manual", "at": "BeforeTraffic", "approved": GOOD}}


def answering(stage: Stage, service: str) -> str:
    """The version that answers a prediction request at that Service."""
    answer = stage.cluster.through("Service", service, PORT, "/invocations", json.loads(BODY))
    return str(answer.headers.get("X-Model-Version", f"status {answer.status_code}"))


@full
def test_a_version_with_the_right_digest_serves_where_one_is_required(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create("iris", SEALED, gates=SEALS)
    cluster.until_serving("iris", SEALED)
    stage.alias("iris", BETTER)
    condition = cluster.until_condition("iris", "Current", "False", "DigestMissing")
    assert "sha256" in condition["message"]
    assert cluster.status("iris")["serving"]["version"] == SEALED


@full
def test_a_candidate_can_be_tried_before_a_person_lets_it_take_requests(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", rollout={"strategy": "BlueGreen"}, gates=BEFORE_TRAFFIC)
    stage.alias("iris", BETTER)
    cluster.until_condition("iris", "Current", "False", "WaitingForApproval")
    cluster.until("the candidate answers", lambda: answering(stage, "iris-candidate") == BETTER)
    assert {answering(stage, "iris") for _ in range(10)} == {GOOD}

    cluster.commit("iris", {"gates": {"approval": {"approved": BETTER}}})
    cluster.until_serving("iris", BETTER)
    cluster.until("it takes the requests", lambda: answering(stage, "iris") == BETTER)
    cluster.until("the Service for trying is gone", lambda: cluster.get("Service", "iris-candidate") is None)


@full
def test_a_serving_pod_counts_its_requests_for_prometheus(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create_serving("iris")
    for _ in range(3):
        assert answering(stage, "iris") == GOOD
    (pod,) = cluster.pods("iris")

    def counted() -> list[str]:
        """The lines of the metrics, once all three are in there: a request is counted when it is over."""
        answer = cluster.through("Pod", pod["metadata"]["name"], 8080, "/metrics")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = answer.text.splitlines()
        return lines if 'model_server_requests_total{code="200"} 3.0' in lines else []

    lines = cluster.until("three requests are counted", counted)
    assert any(line.startswith("model_server_info{") and f'version="{GOOD}"' in line for line in lines)
    assert any(line.startswith("model_server_request_seconds_bucket{") for line in lines)


def test_a_version_is_kept_out_by_gate_after_gate_until_each_is_mended_and_then_rolls_out_by_itself(
    stage: Stage,
) -> None:
    cluster = stage.cluster
    stage.create_serving("iris")
    tag, metric = f"validated-{cluster.name}", f"auc-{cluster.name}"
    gates = {
        "tags": [{"key": tag, "value": "yes"}],
        "metrics": [{"name": metric, "min": 0.8}],
        "inputExample": "Required",
        "maxModelBytes": 1,
        "signature": "Compatible",
    }
    cluster.commit("iris", {"gates": gates})
    stage.alias("iris", BETTER)
    refused = cluster.until_condition("iris", "Admitted", "False", "TagMissing")
    assert f"has no tag {tag}=yes" in refused["message"]

    def outcomes() -> dict[str, str]:
        return {gate["gate"]: gate["outcome"] for gate in cluster.status("iris")["plan"]["gates"]}

    asked = {
        "Tags": "Failed",
        "Metrics": "Failed",
        "InputExample": "Passed",
        "ModelSize": "Failed",
        "Signature": "Passed",
    }
    cluster.until("the plan has what every gate says", lambda: outcomes() == asked)
    plan = cluster.status("iris")["plan"]
    assert (plan["from"], plan["to"], plan["extraResources"]["cpu"]) == (GOOD, BETTER, "50m")

    _tag(stage, tag, "yes")
    cluster.until_condition("iris", "Admitted", "False", "MetricMissing")
    _log(stage, metric, 0.7)
    refused = cluster.until_condition("iris", "Admitted", "False", "MetricOutOfBounds")
    assert metric in refused["message"]
    overrides = [{"gate": "ModelSize", "approved": plan["revision"]}]
    cluster.commit("iris", {"gates": {**gates, "overrides": overrides}})

    remaining = {**asked, "Tags": "Passed", "ModelSize": "Overridden"}
    cluster.until("only the metric keeps it out", lambda: outcomes() == remaining)
    assert answering(stage, "iris") == GOOD
    _log(stage, metric, 0.9)
    cluster.until_serving("iris", BETTER)
    cluster.until_condition("iris", "Admitted", "True", "Admitted")
    assert answering(stage, "iris") == BETTER


def test_a_copied_version_is_judged_by_the_metrics_of_its_original(stage: Stage) -> None:
    """The last value of the run is from the training data, and a gate that read it would let the copy pass."""
    cluster, copy, metric = stage.cluster, f"copy-{stage.cluster.name}", f"acc-{stage.cluster.name}"
    with stage.registry.api() as api:
        original = api.get("model-versions/get", params={"name": MODEL, "version": BETTER}).json()
        run, source = (original["model_version"][key] for key in ("run_id", "source"))
        for dataset, value in (("holdout", 0.5), ("train", 0.99)):
            measured = {
                "dataset_name": dataset,
                "dataset_digest": dataset,
                "model_id": source.rpartition("/")[2],
            }
            now = time.time_ns() // 1_000_000
            api.post(
                "runs/log-metric",
                json={"run_id": run, "key": metric, "value": value, "timestamp": now, **measured},
            )
        api.post("registered-models/create", json={"name": copy})
        api.post(
            "model-versions/create",
            json={"name": copy, "source": f"models:/{MODEL}/{BETTER}", "run_id": run},
        )
    metrics = [{"name": metric, "min": 0.8}]
    cluster.create("iris", {"model": {"name": copy, "version": "1"}, "gates": {"metrics": metrics}})
    refused = cluster.until_condition("iris", "Admitted", "False", "MetricOutOfBounds")
    assert f"{metric} on holdout" in refused["message"]
    cluster.commit("iris", {"gates": {"metrics": [{**metrics[0], "dataset": "train"}]}})
    cluster.until_serving("iris", "1")


def _tag(stage: Stage, key: str, value: str) -> None:
    with stage.registry.api() as api:
        api.post(
            "model-versions/set-tag", json={"name": MODEL, "version": BETTER, "key": key, "value": value}
        )


def _log(stage: Stage, metric: str, value: float) -> None:
    """Logs a metric to the run that the version came from."""
    with stage.registry.api() as api:
        params = {"name": MODEL, "version": BETTER}
        run = api.get("model-versions/get", params=params).json()["model_version"]["run_id"]
        now = time.time_ns() // 1_000_000
        api.post("runs/log-metric", json={"run_id": run, "key": metric, "value": value, "timestamp": now})
