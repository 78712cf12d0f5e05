"""What no watch tells: changed while no operator ran, or deleted where a watch began anew. Found, and mended."""

from __future__ import annotations

import pytest
from tests.integration.lives.bench import Bench
from tests.integration.lives.kubelet import Script

pytestmark = pytest.mark.usefixtures("own_operator")


@pytest.fixture
def churn(bench: Bench, model: str) -> str:
    """A ModelDeployment called churn that serves version 1 on two pods; returns the model's name."""
    bench.create("churn", {"model": {"name": model, "alias": "champion"}, "replicas": 2})
    bench.until_serving("churn", 1)
    bench.until_at_rest("churn")
    return model


def test_children_that_were_changed_and_deleted_while_no_operator_ran_are_mended_and_nothing_is_rolled_out(
    bench: Bench, churn: str
) -> None:
    bench.operator.kill()
    bench.patch("Service", "churn", {"spec": {"selector": {"model-operator.io/track": "nowhere"}}})
    bench.patch("Deployment", "churn", {"spec": {"replicas": 3}})
    bench.delete("PodDisruptionBudget", "churn")
    bench.operator.start()
    bench.until("the Service is as it was", lambda: bench.traffic("churn") == "churn")
    bench.until("the size is as it was", lambda: bench.size("churn") == 2)
    bench.until("the budget is back", lambda: bench.get("PodDisruptionBudget", "churn"))
    bench.until_at_rest("churn")
    bench.until("two pods are left", lambda: len(bench.pod_uids()) == 2)
    assert [len(bench.events("churn", reason)) for reason in ("RolloutStarted", "Reverted")] == [1, 0]


def test_one_that_was_deleted_and_made_anew_while_no_operator_ran_gets_children_of_its_own(
    bench: Bench, churn: str
) -> None:
    bench.operator.kill()
    bench.delete("ModelDeployment", "churn")
    bench.create("churn", {"model": {"name": churn, "alias": "champion"}, "replicas": 1})
    bench.operator.start()
    bench.until_serving("churn", 1)
    created = bench.get("ModelDeployment", "churn")
    assert created
    uid = created["metadata"]["uid"]

    def all_are_its_own() -> bool:
        kinds = ("Deployment", "Service", "PodDisruptionBudget", "ConfigMap", "ControllerRevision")
        owned = [
            o["metadata"].get("ownerReferences") or [{}]
            for kind in kinds
            for o in bench.items(kind)
            if o["metadata"]["name"].startswith("churn")
        ]
        return len(owned) >= len(kinds) and all(owner[0].get("uid") == uid for owner in owned)

    bench.until("every child belongs to the new one", all_are_its_own)


def test_a_bad_version_that_came_while_no_operator_ran_is_tried_once_and_reverted_once(
    bench: Bench, churn: str
) -> None:
    bench.kubelet.scripts[(churn, "2")] = Script(50, '{"reason": "LoadFailed", "message": "broken"}')
    bench.operator.kill()
    bench.alias(churn, "champion", 2)
    bench.operator.start()
    bench.until_condition("churn", "Current", "False", "VersionRejected")
    bench.until("the Deployment is back", lambda: bench.generation("churn") == 3)
    bench.until_at_rest("churn")
    bench.until_quiet()
    with bench.nothing_is_written(seconds=3):
        bench.restart_operator()
    assert len(bench.until_event("churn", "Reverted")) == 1
