"""From a plain Deployment with its Service to a ModelDeployment: what can be taken over, and what can't."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.lives.bench import Bench

BY_HAND = {"app": "churn-by-hand"}


def plain_deployment(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """A model server as somebody wrote it by hand; the scripted kubelet makes its pods ready."""
    annotations = {"model-operator.io/model": "by-hand", "model-operator.io/version": "by-hand"}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"containers": [{"name": "server", "image": "registry.example.com/by-hand:1"}]},
            },
        },
    }


def plain_service(name: str, labels: dict[str, str]) -> dict[str, Any]:
    """Its Service."""
    return {"metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": 80}]}}


def test_a_service_is_taken_over_when_the_new_pods_are_ready_and_is_never_without_an_endpoint(
    bench: Bench, model: str
) -> None:
    bench.post("Deployment", plain_deployment("churn-by-hand", BY_HAND))
    before = bench.post("Service", plain_service("churn", BY_HAND))
    bench.until("what was there serves", lambda: bench.behind("churn") == {"by-hand"})
    approval = {"mode": "Manual", "at": "BeforeTraffic", "approved": ""}
    bench.create(
        "churn",
        {
            "model": {"name": model, "alias": "champion"},
            "replicas": 2,
            "gates": {"approval": approval},
            "rollout": {"strategy": "BlueGreen", "watchSeconds": 1},
        },
        annotations={"model-operator.io/adopt": "Service/churn"},
    )
    bench.until("the candidate can be tried", lambda: bench.behind("churn-candidate") == {"1"})
    assert bench.behind("churn") == {"by-hand"}, "nothing has moved"

    bench.patch("ModelDeployment", "churn", {"spec": {"gates": {"approval": {"approved": "1"}}}})
    seen: list[set[str]] = []

    def moved() -> bool:
        seen.append(bench.behind("churn"))
        return seen[-1] == {"1"}

    bench.until("requests have moved", moved)
    assert all(seen), "there was always somebody to answer"
    bench.until_serving("churn", 1)
    after = bench.get("Service", "churn")
    assert after
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["spec"]["clusterIP"] == before["spec"]["clusterIP"], "callers need no new address"
    bench.delete("Deployment", "churn-by-hand")
    bench.until("only ours are left", lambda: len(bench.items("Deployment")) == 1)
    assert bench.behind("churn") == {"1"}


def test_a_deployment_of_that_name_can_not_be_taken_over_since_its_selector_can_not_change(
    bench: Bench, model: str
) -> None:
    bench.post("Deployment", plain_deployment("churn", BY_HAND))
    bench.until("it is rolled out", lambda: len(bench.pod_uids()) == 2)
    pods = bench.pod_uids()
    bench.create(
        "churn",
        {"model": {"name": model, "alias": "champion"}, "replicas": 2},
        annotations={"model-operator.io/adopt": "Deployment/churn"},
    )

    bench.until("it is refused", lambda: "selector" in str(bench.status("churn").get("conditions")))
    assert bench.condition("churn", "Ready") == ("False", "FirstVersionFailed")
    found = bench.get("Deployment", "churn")
    assert found
    assert found["spec"]["selector"]["matchLabels"] == BY_HAND
    assert "ownerReferences" not in found["metadata"]
    assert bench.pod_uids() == pods, "its pods serve on"


@pytest.mark.parametrize("kind", ["Service", "HorizontalPodAutoscaler"])
def test_what_somebody_controls_is_not_taken_over_whatever_the_annotation_says(
    bench: Bench, model: str, kind: str
) -> None:
    holder = bench.post("ConfigMap", {"metadata": {"name": "holder"}})
    owner = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "holder",
        "uid": holder["metadata"]["uid"],
        "controller": True,
    }
    body = (
        plain_service("churn", BY_HAND)
        if kind == "Service"
        else {
            "metadata": {"name": "churn"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"},
                "maxReplicas": 2,
            },
        }
    )
    body["metadata"]["ownerReferences"] = [owner]
    before = bench.post(kind, body)
    bench.create(
        "churn",
        {"model": {"name": model, "alias": "champion"}, "autoscaling": {"maxReplicas": 2}},
        annotations={"model-operator.io/adopt": f"{kind}/churn"},
    )

    bench.until_condition("churn", "Ready", "False", "NameConflict")
    found = bench.get(kind, "churn")
    assert found
    assert found["spec"] == before["spec"]
