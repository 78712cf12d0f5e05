"""What somebody changes or deletes comes back; what is not ours stays as it is."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.e2e.stage import BETTER, GOOD, Stage
from tests.workbench import Load

pytestmark = pytest.mark.full
REGISTRATION = "/apis/admissionregistration.k8s.io/v1"
SCALED = {"minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 1000}


@pytest.fixture(scope="module")
def iris(shared_stage: Stage) -> Stage:
    """A ModelDeployment called iris that serves, with an autoscaler."""
    shared_stage.create_serving("iris", autoscaling=SCALED)
    return shared_stage


@pytest.mark.parametrize("kind", ["Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"])
def test_an_object_that_somebody_deletes_comes_back(iris: Stage, kind: str) -> None:
    pods = {pod["metadata"]["uid"] for pod in iris.cluster.pods("iris")}
    before = iris.cluster.get(kind, "iris")
    assert before
    iris.cluster.delete(kind, "iris")

    def is_back() -> bool:
        found = iris.cluster.get(kind, "iris")
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    iris.cluster.until(f"there is a new {kind}", is_back, 20)
    iris.cluster.until_serving("iris", GOOD)
    assert {pod["metadata"]["uid"] for pod in iris.cluster.pods("iris")} == pods


def test_a_deployment_that_somebody_deletes_comes_back_and_serves(iris: Stage) -> None:
    before = iris.cluster.get("Deployment", "iris")
    assert before
    iris.cluster.delete("Deployment", "iris")

    def is_back() -> bool:
        found = iris.cluster.get("Deployment", "iris")
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    iris.cluster.until("there is a new Deployment", is_back, 20)
    iris.cluster.until("its pod is ready", lambda: iris.cluster.status("iris").get("readyReplicas") == 1)
    iris.cluster.until_serving("iris", GOOD)


def test_a_label_and_a_variable_that_somebody_changes_go_back(iris: Stage) -> None:
    before = deployment(iris)
    container = before["spec"]["template"]["spec"]["containers"][0]
    env = [{**e, "value": "nonsense"} if e["name"] == "MODEL_VERSION" else e for e in container["env"]]
    changed = iris.cluster.patch(
        "Deployment",
        "iris",
        {
            "metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}},
            "spec": {"template": {"spec": {"containers": [{**container, "env": env}]}}},
        },
    )
    assert not _same_pods(before, changed)
    iris.cluster.until("the template is the old one", lambda: _same_pods(before, deployment(iris)), 20)
    assert deployment(iris)["metadata"]["labels"] == before["metadata"]["labels"]
    iris.cluster.until_serving("iris", GOOD)


def test_the_autoscalers_size_is_left_alone(iris: Stage) -> None:
    iris.cluster.patch("HorizontalPodAutoscaler", "iris", {"metadata": {"annotations": {"seen-by": "test"}}})
    iris.cluster.patch("ModelDeployment", "iris", {"spec": {"autoscaling": {**SCALED, "minReplicas": 2}}})
    iris.cluster.until("the autoscaler asks for 2", lambda: deployment(iris)["spec"]["replicas"] == 2)
    iris.cluster.until("both are ready", lambda: iris.cluster.status("iris").get("readyReplicas") == 2)
    iris.alias("iris", BETTER)
    iris.cluster.until_serving("iris", BETTER)
    assert deployment(iris)["spec"]["replicas"] == 2
    assert "seen-by" in _annotations(iris.cluster.get("HorizontalPodAutoscaler", "iris"))
    iris.alias("iris", GOOD)
    iris.cluster.until_serving("iris", GOOD)


def test_fixed_size_and_autoscaling_change_places_without_a_dip(stage: Stage) -> None:
    stage.create_serving("iris", replicas=3)
    cluster = stage.cluster
    load = Load.start(cluster, "iris", rate=10)
    pods = {pod["metadata"]["uid"] for pod in cluster.pods("iris")}
    scaled = {**SCALED, "minReplicas": 3}
    cluster.patch("ModelDeployment", "iris", {"spec": {"replicas": None, "autoscaling": scaled}})
    cluster.until("the autoscaler is there", lambda: cluster.get("HorizontalPodAutoscaler", "iris"))
    cluster.until(
        "the autoscaler is at work", lambda: _scaled_by_cpu(cluster.get("HorizontalPodAutoscaler", "iris"))
    )
    cluster.patch("ModelDeployment", "iris", {"spec": {"replicas": 3, "autoscaling": None}})
    cluster.until("the autoscaler is gone", lambda: cluster.get("HorizontalPodAutoscaler", "iris") is None)
    cluster.until_serving("iris", GOOD)
    assert {pod["metadata"]["uid"] for pod in cluster.pods("iris")} == pods
    assert load.stop().failed == 0


def test_a_deployment_of_that_name_that_is_not_ours_stays_untouched(stage: Stage) -> None:
    labels = {"app": "theirs"}
    container = {"name": "c", "image": "model-operator.io/server:dev", "command": ["sleep", "infinity"]}
    foreign = stage.cluster.post(
        "Deployment",
        {
            "metadata": {"name": "iris", "labels": labels},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
    )
    stage.create("iris")
    condition = stage.cluster.until_condition("iris", "Ready", "False", "NameConflict")
    assert "Deployment iris" in condition["message"]
    found = deployment(stage)
    assert found["spec"] == foreign["spec"]
    assert found["metadata"]["labels"] == labels
    assert "ownerReferences" not in found["metadata"]

    stage.cluster.delete("Deployment", "iris")
    stage.cluster.until_serving("iris", GOOD)


def test_a_policy_that_raises_requests_is_accepted_and_drift_beside_it_is_not(stage: Stage) -> None:
    cluster = stage.cluster
    cpu = "/spec/template/spec/containers/0/resources/requests/cpu"
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    chosen = {"matchLabels": {"kubernetes.io/metadata.name": cluster.name}}
    mutation = f'[JSONPatch{{op: "replace", path: "{cpu}", value: "60m"}}]'
    policy = {
        "matchConstraints": {
            "resourceRules": [{**rule, "operations": ["CREATE", "UPDATE"]}],
            "namespaceSelector": chosen,
        },
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": mutation}}],
    }
    objects = {
        "mutatingadmissionpolicies": policy,
        "mutatingadmissionpolicybindings": {"policyName": cluster.name},
    }
    http = stage.bench.api.http
    try:
        for plural, spec in objects.items():
            body = {"metadata": {"name": cluster.name}, "spec": spec}
            http.post(f"{REGISTRATION}/{plural}", json=body).raise_for_status()
        # the API server takes a moment to learn of a policy, and the first write must meet it
        time.sleep(5)
        stage.create_serving("iris")
        assert _cpu(deployment(stage)) == "60m"
        pods = {pod["metadata"]["uid"] for pod in cluster.pods("iris")}
        cluster.patch("Deployment", "iris", {"spec": {"minReadySeconds": 77}})
        cluster.until("it is set back", lambda: deployment(stage)["spec"]["minReadySeconds"] == 3, 20)
        cluster.until_serving("iris", GOOD)
        assert _cpu(deployment(stage)) == "60m"
        assert {pod["metadata"]["uid"] for pod in cluster.pods("iris")} == pods
        stage.alias("iris", BETTER)
        cluster.until_serving("iris", BETTER)
    finally:
        for plural in objects:
            http.delete(f"{REGISTRATION}/{plural}/{cluster.name}")
    assert _cpu(deployment(stage)) == "60m"
    conditions = {condition["type"] for condition in cluster.status("iris")["conditions"]}
    assert "Reconciling" not in conditions


def test_a_second_track_gets_round_a_model_deployment_of_its_name(stage: Stage) -> None:
    stage.create_serving("iris", rollout={"strategy": "BlueGreen"})
    stage.create_serving("iris-green")
    stage.alias("iris", BETTER)
    stage.cluster.until_serving("iris", BETTER)
    stage.cluster.until_serving("iris-green", GOOD)
    found = stage.cluster.get("Deployment", "iris-green")
    assert found
    assert found["metadata"]["labels"]["model-operator.io/deployment"] == "iris-green"
    assert stage.cluster.status("iris")["serving"]["track"] == "iris-green"


def _cpu(found: dict[str, Any]) -> str:
    return str(found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])


def deployment(stage: Stage) -> dict[str, Any]:
    found = stage.cluster.get("Deployment", "iris")
    assert found
    return found


def _same_pods(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["spec"]["template"] == other["spec"]["template"])


def _scaled_by_cpu(autoscaler: dict[str, Any] | None) -> bool:
    conditions = (autoscaler or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "ScalingActive" and c["status"] == "True" for c in conditions)


def _annotations(obj: dict[str, Any] | None) -> dict[str, str]:
    return dict((obj or {}).get("metadata", {}).get("annotations") or {})
