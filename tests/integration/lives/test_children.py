"""What others do to the children, and what the operator does about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.cluster.api import ApiClient
from tests.integration.lives.bench import Bench

SCALED = {"minReplicas": 3, "maxReplicas": 5}


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn with an autoscaler, at rest; returns the model's name."""
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "autoscaling": SCALED})
    bench.until_serving("churn", 1)
    return model


def at(*path: str) -> Callable[[dict[str, Any]], Any]:
    def read(obj: dict[str, Any]) -> Any:
        for step in path:
            obj = obj[step]
        return obj

    return read


CHANGES = [
    pytest.param(
        "Deployment",
        {"spec": {"minReadySeconds": 77}},
        at("spec", "minReadySeconds"),
        id="a field of the Deployment",
    ),
    pytest.param(
        "Deployment",
        {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}},
        at("metadata", "labels", "app.kubernetes.io/instance"),
        id="a label of the Deployment",
    ),
    pytest.param(
        "Service",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
        at("metadata", "labels"),
        id="the label by which we find the Service",
    ),
    pytest.param(
        "Service",
        {"spec": {"selector": {"model-operator.io/track": "other"}}},
        at("spec", "selector"),
        id="the Service's selector",
    ),
    pytest.param(
        "HorizontalPodAutoscaler",
        {"spec": {"maxReplicas": 9}},
        at("spec", "maxReplicas"),
        id="the autoscaler's bound",
    ),
    pytest.param(
        "PodDisruptionBudget",
        {"spec": {"maxUnavailable": 0}},
        at("spec", "maxUnavailable"),
        id="the budget's bound",
    ),
]


@pytest.mark.parametrize(("kind", "change", "read"), CHANGES)
def test_what_somebody_changed_comes_back(
    bench: Bench, churn: str, kind: str, change: dict[str, Any], read: Callable[[dict[str, Any]], Any]
) -> None:
    before = bench.get(kind, "churn")
    assert before
    changed = bench.patch(kind, "churn", change)
    assert read(changed) != read(before)
    bench.until(f"the {kind} is as before", lambda: read(bench.get(kind, "churn") or {}) == read(before))


@pytest.mark.parametrize("kind", ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"])
def test_what_somebody_deleted_comes_back(bench: Bench, churn: str, kind: str) -> None:
    before = bench.get(kind, "churn")
    assert before
    bench.delete(kind, "churn")

    def is_back() -> bool:
        found = bench.get(kind, "churn")
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    bench.until(f"there is a new {kind}", is_back)
    bench.until_serving("churn", 1)


def test_somebody_who_changes_a_child_again_and_again_is_not_fought_at_full_speed(
    bench: Bench, churn: str
) -> None:
    for bound in range(20, 40):
        if bench.condition("churn", "Reconciling") == ("True", "DriftContested"):
            break
        bench.patch("HorizontalPodAutoscaler", "churn", {"spec": {"maxReplicas": bound}})
        bench.until("the operator has looked", lambda bound=bound: repaired_or_contested(bench, bound), 15)  # type: ignore[misc]
    bench.until_condition("churn", "Reconciling", "True", "DriftContested")
    assert bench.condition("churn", "Ready") == ("True", "Serving")


def test_who_edits_the_spec_again_and_again_is_followed_each_time(bench: Bench, churn: str) -> None:
    for bound in range(20, 30):
        bench.patch("ModelDeployment", "churn", {"spec": {"autoscaling": {"maxReplicas": bound}}})
        bench.until(
            f"the bound is {bound}",
            lambda bound=bound: bench.get("HorizontalPodAutoscaler", "churn")["spec"]["maxReplicas"] == bound,  # type: ignore[misc,index]
            15,
        )
    assert bench.condition("churn", "Reconciling")[1] != "DriftContested"


def repaired_or_contested(bench: Bench, bound: int) -> bool:
    found = bench.get("HorizontalPodAutoscaler", "churn")
    assert found
    return (
        found["spec"]["maxReplicas"] != bound
        or bench.condition("churn", "Reconciling")[1] == "DriftContested"
    )


def test_the_autoscalers_replicas_are_left_alone(bench: Bench, churn: str) -> None:
    bench.patch("Deployment", "churn", {"spec": {"replicas": 5}}, "/scale")
    bench.until("5 replicas are ready", lambda: bench.status("churn").get("readyReplicas") == 5)
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    assert bench.status("churn")["replicas"] == 5


def test_fixed_replicas_and_autoscaling_change_places_without_a_dip(bench: Bench, churn: str) -> None:
    seen = {3}

    def replicas() -> int:
        deployment = bench.get("Deployment", "churn")
        assert deployment
        seen.add(deployment["spec"]["replicas"])
        return int(deployment["spec"]["replicas"])

    bench.patch("ModelDeployment", "churn", {"spec": {"autoscaling": None, "replicas": 4}})
    bench.until("4 replicas", lambda: replicas() == 4)
    assert bench.get("HorizontalPodAutoscaler", "churn") is None
    bench.until("4 are ready", lambda: bench.status("churn").get("readyReplicas") == 4)
    bench.patch("ModelDeployment", "churn", {"spec": {"autoscaling": SCALED, "replicas": None}})
    bench.until(
        "the autoscaler is there", lambda: replicas() and bench.get("HorizontalPodAutoscaler", "churn")
    )
    bench.until_serving("churn", 1)
    assert replicas() == 4
    assert seen == {3, 4}


def test_at_rest_nothing_is_written(bench: Bench, churn: str) -> None:
    bench.until_at_rest("churn")
    with bench.nothing_is_written(seconds=5):
        pass


@pytest.mark.usefixtures("own_operator")
def test_a_restart_writes_nothing(bench: Bench, churn: str) -> None:
    bench.until_at_rest("churn")
    with bench.nothing_is_written(seconds=5):
        bench.operator.kill()
        bench.operator.start()


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_an_object_of_that_name_that_is_not_ours_stays_untouched(bench: Bench, model: str, kind: str) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec: dict[str, Any] = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": pod}
    if kind == "Service":
        spec = {"ports": [{"port": 99}], "selector": {"a": "b"}}
    foreign = bench.post(kind, {"metadata": {"name": "churn"}, "spec": spec})

    bench.create("churn", {"model": {"name": model, "alias": "champion"}})
    bench.until_condition("churn", "Ready", "False", "NameConflict")
    ready = next(c for c in bench.status("churn")["conditions"] if c["type"] == "Ready")
    assert f"{kind} churn" in ready["message"]
    found = bench.get(kind, "churn")
    assert found
    assert found["spec"] == foreign["spec"]
    assert found["metadata"].get("labels") == foreign["metadata"].get("labels")
    assert "ownerReferences" not in found["metadata"]

    bench.delete(kind, "churn")
    bench.until_serving("churn", 1)


@pytest.mark.usefixtures("own_operator")
def test_children_go_with_the_model_deployment_while_no_operator_runs(bench: Bench, churn: str) -> None:
    bench.operator.kill()
    bench.delete("ModelDeployment", "churn")
    for kind in (
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "ControllerRevision",
        "Pod",
    ):
        bench.until(f"no {kind} is left", lambda kind=kind: bench.items(kind) == [])  # type: ignore[misc]


def test_orphans_are_adopted_without_a_new_pod(bench: Bench, churn: str) -> None:
    pods = {p["metadata"]["uid"] for p in bench.items("Pod")}
    bench.delete("ModelDeployment", "churn", propagation="Orphan")
    bench.until("it is gone", lambda: bench.get("ModelDeployment", "churn") is None)
    created = bench.create("churn", {"model": {"name": churn, "alias": "champion"}, "autoscaling": SCALED})
    bench.until_serving("churn", 1)

    def owners() -> set[str]:
        kinds = (
            "Deployment",
            "Service",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
            "ControllerRevision",
        )
        found = [o for kind in kinds for o in bench.items(kind)]
        return {r["uid"] for o in found for r in o["metadata"].get("ownerReferences", [{"uid": "nobody"}])}

    bench.until("all are ours", lambda: owners() == {created["metadata"]["uid"]})
    assert {p["metadata"]["uid"] for p in bench.items("Pod")} == pods


def test_a_model_deployment_made_anew_waits_for_the_old_ones_children(bench: Bench, churn: str) -> None:
    bench.delete("ModelDeployment", "churn", propagation="Foreground")
    bench.until("it is gone", lambda: bench.get("ModelDeployment", "churn") is None)
    bench.create("churn", {"model": {"name": churn, "alias": "champion"}})
    bench.until_serving("churn", 1)


def test_history_is_bounded(bench: Bench, model: str) -> None:
    spec = {"model": {"name": model, "alias": "champion"}, "revert": {"historyLimit": 2}}
    bench.create("churn", spec)
    for version in (1, 2, 3, 1):
        bench.alias(model, "champion", version)
        bench.until_serving("churn", version)
    bench.until("two are kept", lambda: len(bench.items("ControllerRevision")) == 2)
    assert len([c for c in bench.items("ConfigMap") if c["metadata"]["name"].startswith("churn-")]) == 1


@pytest.fixture
def unreachable_webhook(api: ApiClient, namespace: str) -> Iterator[str]:
    """An admission webhook for the Services of the namespace that nobody answers for; returns its name."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"], "operations": ["CREATE"]}
    webhook = {
        "name": "gone.model-operator.io",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [rule],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 1,
        "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    body = {"metadata": {"name": namespace}, "webhooks": [webhook]}
    assert api.http.post(path, json=body).status_code == 201
    yield f"{path}/{namespace}"
    api.http.delete(f"{path}/{namespace}")


def test_an_admission_webhook_that_nobody_answers_for_is_told_and_holds_up_nothing_else(
    bench: Bench, api: ApiClient, model: str, unreachable_webhook: str
) -> None:
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "autoscaling": SCALED})

    def told() -> bool:
        found = bench.get("ModelDeployment", "churn") or {}
        words = {c["type"]: c["message"] for c in found.get("status", {}).get("conditions", [])}
        refused = bench.condition("churn", "Ready") == ("False", "Refused")
        return refused and "gone.model-operator.io" in words["Ready"]

    bench.until("the status names the webhook", told)
    bench.until("the budget is there", lambda: bench.get("PodDisruptionBudget", "churn") is not None)
    assert bench.get("HorizontalPodAutoscaler", "churn")
    assert bench.get("Service", "churn") is None

    assert api.http.delete(unreachable_webhook).status_code == 200
    bench.patch("ModelDeployment", "churn", {"metadata": {"labels": {"look": "again"}}})
    bench.until_serving("churn", 1)
