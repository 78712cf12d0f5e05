"""Names of models that Kubernetes would not take for one of its own, through to pods on a real API server."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from tests.integration.lives.bench import Bench

NAMES = {
    "blanks-and-signs": "Churn model 100% v2?&+#;[1]@x",
    "unicode": "Söhne & Töchter 日本語 🚀",
    "longest": "a" * 200 + " " + "é" * 54,
    "variables": "$(HOME) costs 5$",
    # the first and the second are one when they are made into labels
    "collides-1": "Credit Risk",
    "collides-2": "credit-risk",
    "dots": "ml.crm.churn",
}


@pytest.mark.parametrize("case", sorted(NAMES))
def test_a_model_of_any_name_is_rolled_out_and_its_alias_followed(bench: Bench, case: str) -> None:
    name = NAMES[case]
    bench.register(name, versions=2)
    bench.alias(name, "champion", 1)
    bench.create("churn", {"model": {"name": name, "alias": "champion"}, "replicas": 1})
    bench.until_serving("churn", 1)
    bench.alias(name, "champion", 2)
    bench.until_serving("churn", 2)
    (pod,) = [pod for pod in bench.items("Pod") if not pod["metadata"].get("deletionTimestamp")]
    assert pod["metadata"]["annotations"]["model-operator.io/model"] == name
    assert name not in pod["metadata"]["labels"].values()
    (container,) = pod["spec"]["initContainers"]
    variables = {variable["name"]: variable.get("value") for variable in container["env"]}
    # what the kubelet makes of it is the name again
    assert variables["MODEL_NAME"] == name.replace("$", "$$")
    assert variables["MODEL_VERSION"] == "2"
    assert bench.status("churn")["resolved"]["version"] == "2"


def test_names_that_are_one_as_labels_stay_two_models(bench: Bench) -> None:
    names = [f"Fraud {bench.namespace}", f"fraud-{bench.namespace}"]
    for number, name in enumerate(names, start=1):
        bench.register(name, versions=2)
        bench.alias(name, "champion", number)
        bench.create(f"fraud-{number}", {"model": {"name": name, "alias": "champion"}, "replicas": 1})
    for number in (1, 2):
        bench.until_serving(f"fraud-{number}", number)
    served = {
        pod["metadata"]["annotations"]["model-operator.io/model"]: pod["metadata"]["annotations"][
            "model-operator.io/version"
        ]
        for pod in bench.items("Pod")
    }
    assert served == {names[0]: "1", names[1]: "2"}
    assert bench.behind("fraud-1").isdisjoint(bench.behind("fraud-2"))


# --- names that two ModelDeployments derive ----------------------------------------------------------

BLUE_GREEN = {"strategy": "BlueGreen", "watchSeconds": 1, "warmSeconds": 0}


def versions(bench: Bench) -> str:
    """A registered model with three versions; its alias champion is on version 1."""
    name = f"model-{secrets.token_hex(4)}"
    bench.register(name)
    bench.alias(name, "champion", 1)
    return name


def follow(bench: Bench, name: str, model: str, **spec: Any) -> None:
    bench.create(name, {"model": {"name": model, "alias": "champion"}, "replicas": 1, **spec})


def never_in_conflict(bench: Bench, *names: str) -> None:
    for name in names:
        assert bench.events(name, "NameConflict") == []
        assert bench.condition(name, "Ready") == ("True", "Serving")


@pytest.mark.usefixtures("own_operator")
@pytest.mark.parametrize("order", ["track first", "ModelDeployment first"])
def test_a_second_track_and_a_model_deployment_of_one_name_live_side_by_side(
    bench: Bench, model: str, order: str
) -> None:
    other = versions(bench)
    scaled = {"replicas": None, "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}
    follow(bench, "churn", model, rollout=BLUE_GREEN)
    bench.until_serving("churn", 1)
    if order == "ModelDeployment first":
        follow(bench, "churn-green", other, **scaled)
        bench.until_serving("churn-green", 1)
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)
    if order == "track first":
        follow(bench, "churn-green", other, **scaled)
        bench.until_serving("churn-green", 1)
    assert bench.status("churn")["serving"]["track"] == "churn-green"
    names = {found["metadata"]["name"] for found in bench.items("Deployment")}
    assert {"churn", "churn-green"} < names
    assert len(names) == 3
    pods = bench.pod_uids()
    bench.restart_operator()
    for name in ("churn", "churn-green"):
        bench.until_at_rest(name)
    assert bench.pod_uids() == pods
    bench.alias(other, "champion", 3)
    bench.until_serving("churn-green", 3)
    # the autoscaler follows the Deployment by whatever name it has
    (scaler,) = bench.items("HorizontalPodAutoscaler")
    target = bench.get("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
    assert target
    assert target["metadata"]["labels"]["model-operator.io/deployment"] == "churn-green"
    assert (bench.behind("churn"), bench.behind("churn-green")) == ({"2"}, {"3"})
    bench.alias(model, "champion", 3)
    bench.until_serving("churn", 3)
    bench.alias(model, "champion", 1)
    bench.until_serving("churn", 1)
    assert {found["metadata"]["name"] for found in bench.items("Deployment")} == names
    assert bench.behind("churn") == {"1"}
    never_in_conflict(bench, "churn", "churn-green")


def test_a_preview_makes_room_for_the_service_of_a_model_deployment(bench: Bench, model: str) -> None:
    gates = {"approval": {"mode": "Manual", "at": "BeforeTraffic", "approved": "1"}}
    follow(bench, "churn", model, rollout=BLUE_GREEN, gates=gates)
    bench.until_serving("churn", 1)
    bench.alias(model, "champion", 2)
    bench.until("the preview shows version 2", lambda: bench.behind("churn-candidate") == {"2"})
    follow(bench, "churn-candidate", versions(bench), rollout=BLUE_GREEN)
    bench.until_serving("churn-candidate", 1)
    service = bench.get("Service", "churn-candidate")
    assert service
    assert service["metadata"]["labels"]["model-operator.io/deployment"] == "churn-candidate"
    candidate = bench.status("churn")["candidate"]
    (preview,) = {found["metadata"]["name"] for found in bench.items("Service")} - {
        "churn",
        "churn-candidate",
    }
    assert f"the Service {preview}," in candidate["message"]
    bench.until("the preview shows version 2 again", lambda: bench.behind(preview) == {"2"})
    bench.patch("ModelDeployment", "churn", {"spec": {"gates": {"approval": {"approved": "2"}}}})
    bench.until_serving("churn", 2)
    bench.until("the preview is gone", lambda: bench.get("Service", preview) is None)
    never_in_conflict(bench, "churn", "churn-candidate")
