"""What has to be true before a version takes requests, and what a serving pod tells about itself."""

from __future__ import annotations

import json

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
    answer = cluster.through("Pod", pod["metadata"]["name"], 8080, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = answer.text.splitlines()
    counted = [line for line in lines if line.startswith("model_server_requests_total{")]
    assert [line for line in counted if 'code="200"' in line and float(line.split()[-1]) == 3], counted
    assert any(line.startswith("model_server_info{") and f'version="{GOOD}"' in line for line in lines)
    assert any(line.startswith("model_server_request_seconds_bucket{") for line in lines)


def test_a_version_is_kept_out_until_a_tag_and_a_reviewed_commit_let_it_in(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create_serving("iris")
    name = f"validated-{cluster.name}"
    gates = {
        "tags": [{"key": name, "value": "yes"}],
        "inputExample": "Required",
        "maxModelBytes": 1,
        "signature": "Compatible",
    }
    cluster.commit("iris", {"gates": gates})
    stage.alias("iris", BETTER)
    refused = cluster.until_condition("iris", "Admitted", "False", "TagMissing")
    assert f"has no tag {name}=yes" in refused["message"]

    tag = {"name": MODEL, "version": BETTER, "key": name, "value": "yes"}
    with stage.registry.api() as api:
        api.post("model-versions/set-tag", json=tag)
    refused = cluster.until_condition("iris", "Admitted", "False", "ModelTooLarge")
    assert "spec.gates.maxModelBytes" in refused["message"]
    plan = cluster.status("iris")["plan"]
    assert {gate["gate"]: gate["outcome"] for gate in plan["gates"]} == {
        "Tags": "Passed",
        "InputExample": "Passed",
        "ModelSize": "Failed",
        "Signature": "Passed",
    }
    assert (plan["from"], plan["to"], plan["extraResources"]["cpu"]) == (GOOD, BETTER, "50m")
    assert answering(stage, "iris") == GOOD

    overrides = [{"gate": "ModelSize", "approved": plan["revision"]}]
    cluster.commit("iris", {"gates": {**gates, "overrides": overrides}})
    cluster.until_serving("iris", BETTER)
    cluster.until_condition("iris", "Admitted", "True", "Admitted")
    assert answering(stage, "iris") == BETTER
