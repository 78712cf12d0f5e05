"""Whole lives on a real API server: follow the alias, go back, survive."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

LOAD_FAILED = Script(50, '{"reason": "LoadFailed", "message": "ValueError: the pickle is broken"}')


def followed(model: str, **spec: Any) -> dict[str, Any]:
    return {"model": {"name": model, "alias": "champion"}, "replicas": 2, **spec}


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn that serves version 1; returns the model's name."""
    bench.create("churn", followed(model))
    bench.until_serving("churn", 1)
    return model


def test_the_first_version_comes_up_with_everything_around_it(bench: Bench, churn: str) -> None:
    status = bench.status("churn")
    assert status["serving"]["selfTest"] == "Passed"
    assert bench.condition("churn", "Ready") == ("True", "Serving"), status
    assert status["replicas"] == 2
    assert status["observedGeneration"] == 1
    assert status["address"]["url"] == f"http://churn.{bench.namespace}.svc"
    assert bench.get("Service", "churn")
    assert bench.get("PodDisruptionBudget", "churn")
    pods = bench.items("Pod")
    assert {p["metadata"]["annotations"]["model-operator.io/version"] for p in pods} == {"1"}
    created = bench.get("ModelDeployment", "churn")
    assert created
    assert "finalizers" not in created["metadata"]
    assert "annotations" not in created["metadata"]


def test_it_follows_the_alias_and_comes_back_from_a_version_that_does_not_load(
    bench: Bench, churn: str
) -> None:
    bench.kubelet.scripts[(churn, "3")] = LOAD_FAILED
    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)

    bench.alias(churn, "champion", 3)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    status = bench.status("churn")
    assert status["serving"]["version"] == "2"
    assert status["rejected"][0]["reason"] == "LoadFailed"
    assert status["rejected"][0]["side"] == "Model"
    assert "the pickle is broken" in status["rejected"][0]["message"]
    assert bench.condition("churn", "Ready") == ("True", "Serving")
    assert bench.condition("churn", "Stalled") == ("", "")

    bench.alias(churn, "champion", 2)
    bench.until_serving("churn", 2)
    reasons = {
        event["reason"] for event in bench.items("Event") if event["involvedObject"]["name"] == "churn"
    }
    assert {"RolloutStarted", "RolledOut", "Reverted"} <= reasons


@pytest.mark.usefixtures("own_operator")
def test_a_rejection_is_remembered_when_the_status_is_lost_and_the_operator_is_new(
    bench: Bench, churn: str
) -> None:
    bench.kubelet.scripts[(churn, "3")] = LOAD_FAILED
    bench.alias(churn, "champion", 3)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until_at_rest("churn")
    generation = deployment_generation(bench)

    bench.operator.kill()
    bench.patch("ModelDeployment", "churn", {"status": None}, "/status")
    assert bench.status("churn") == {}
    bench.operator.start()

    bench.until_condition("churn", "Current", "False", "VersionRejected")
    assert bench.status("churn")["serving"]["version"] == "1"
    assert deployment_generation(bench) == generation, "nothing was rolled out again"


def test_a_person_has_a_rejected_version_tried_again(bench: Bench, churn: str) -> None:
    bench.kubelet.scripts[(churn, "2")] = LOAD_FAILED
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.kubelet.scripts[(churn, "2")] = Script()
    bench.patch("ModelDeployment", "churn", {"metadata": {"annotations": {"model-operator.io/retry": "now"}}})
    status = bench.until_serving("churn", 2)
    assert status["handledRequests"] == {"retry": "now"}
    assert "rejected" not in status


@pytest.mark.usefixtures("own_operator")
def test_an_operator_killed_in_mid_rollout_leaves_nothing_undone(bench: Bench, churn: str) -> None:
    bench.kubelet.scripts[(churn, "2")] = Script(stuck=True)
    bench.alias(churn, "champion", 2)
    bench.until_condition("churn", "Current", "False", "InsufficientCapacity")
    bench.operator.kill()
    bench.kubelet.scripts[(churn, "2")] = Script()
    bench.operator.start()
    status = bench.until_serving("churn", 2)
    assert "rejected" not in status


def test_a_bad_commit_is_not_in_force_and_says_so_until_it_is_mended(bench: Bench, churn: str) -> None:
    bench.patch(
        "ModelDeployment",
        "churn",
        {"spec": {"pod": {"volumes": [{"name": "x", "emptyDir": {"sizeLimit": "a"}}]}}},
    )
    bench.until_condition("churn", "Ready", "False", "VersionRejected")
    assert bench.condition("churn", "Stalled") == ("True", "VersionRejected")
    assert bench.status("churn")["rejected"][0]["reason"] == "FieldRefused"
    assert bench.status("churn")["rejected"][0]["side"] == "Configuration"
    assert bench.status("churn")["readyReplicas"] == 2

    bench.patch("ModelDeployment", "churn", {"spec": {"pod": None}})
    bench.until_condition("churn", "Ready", "True", "Serving")


def test_a_first_version_that_fails_has_nothing_to_go_back_to_and_says_so(bench: Bench, model: str) -> None:
    bench.kubelet.scripts[(model, "1")] = LOAD_FAILED
    bench.create("churn", followed(model))
    bench.until_condition("churn", "Ready", "False", "FirstVersionFailed")
    assert bench.condition("churn", "Stalled")[0] == "True"
    bench.alias(model, "champion", 2)
    bench.until_serving("churn", 2)


@pytest.mark.usefixtures("own_operator")
def test_a_silent_registry_changes_nothing(bench: Bench, churn: str) -> None:
    with bench.silent_registry():
        bench.until_condition("churn", "Resolved", "Unknown", "RegistryUnreachable")
        assert bench.condition("churn", "Ready") == ("True", "Serving")
        bench.delete("Service", "churn")
        bench.until("the Service is back", lambda: bench.get("Service", "churn"))
    bench.until_condition("churn", "Current", "True", "Serving")


@pytest.mark.parametrize(
    ("model_spec", "reason"),
    [
        pytest.param({"alias": "nobody"}, "AliasNotFound", id="an alias that does not exist"),
        pytest.param({"version": "99"}, "VersionNotFound", id="a version that does not exist"),
        pytest.param(
            {"name": "no-such-model", "alias": "champion"}, "ModelNotFound", id="a model that does not exist"
        ),
    ],
)
def test_what_the_registry_does_not_have_is_named(
    bench: Bench, model: str, model_spec: dict[str, str], reason: str
) -> None:
    bench.create("churn", {"model": {"name": model} | model_spec})
    bench.until_condition("churn", "Resolved", "False", reason)
    assert bench.condition("churn", "Stalled") == ("True", reason)
    assert bench.items("Deployment") == []


def test_a_pinned_version_is_changed_in_git(bench: Bench, model: str) -> None:
    bench.create("churn", {"model": {"uri": f"models:/{model}/1"}})
    bench.until_serving("churn", 1)
    bench.patch("ModelDeployment", "churn", {"spec": {"model": {"uri": f"models:/{model}/2"}}})
    bench.until_serving("churn", 2)


@pytest.mark.usefixtures("own_operator")
def test_aliases_that_move_together_roll_out_a_few_at_a_time(bench: Bench, model: str) -> None:
    names = [f"churn-{number}" for number in range(5)]
    for name in names:
        bench.create(name, followed(model, replicas=1))
    seen: set[str] = set()

    def all_serve() -> bool:
        candidates = [o.get("status", {}).get("candidate", {}) for o in bench.items("ModelDeployment")]
        phases = [str(c["phase"]) for c in candidates if c]
        seen.update(phases)
        assert len([p for p in phases if p != "WaitingForSlot"]) <= 2, phases
        return all(bench.condition(name, "Current")[0] == "True" for name in names)

    bench.until("all five serve", all_serve)
    assert "WaitingForSlot" in seen


def deployment_generation(bench: Bench) -> int:
    deployment = bench.get("Deployment", "churn")
    assert deployment
    return int(deployment["metadata"]["generation"])
