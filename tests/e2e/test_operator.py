"""The operator may die, be away or be idle: nothing that serves depends on it."""

from __future__ import annotations

import pytest

from tests.e2e.stage import BETTER, GOOD, LOAD_FAILS, SLOW, Stage
from tests.workbench.objects import CHILDREN

SCALED = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 1000}


def test_an_operator_killed_in_the_middle_of_a_rollout_comes_to_the_same_end(stage: Stage) -> None:
    stage.create_serving("iris")
    stage.alias("iris", SLOW)
    stage.cluster.until(
        "the slow version loads",
        lambda: (
            stage.cluster.status("iris").get("candidate", {}).get("version") == SLOW
            and SLOW in stage.cluster.pod_versions("iris")
        ),
    )
    stage.bench.kill_operator()
    status = stage.cluster.until_serving("iris", SLOW)
    assert "rejected" not in status
    assert stage.cluster.pod_versions("iris") == [SLOW]
    started = [
        m
        for reason, m in stage.cluster.events("iris")
        if reason == "RolloutStarted" and f"version {SLOW}" in m
    ]
    assert len(started) == 1, "the rollout was begun twice"


def test_at_rest_nothing_is_written(stage: Stage) -> None:
    stage.create_serving("iris")
    cluster = stage.cluster
    cluster.until_at_rest("iris")
    with cluster.nothing_is_written(seconds=30):
        pass


def test_children_go_with_their_model_deployment_while_no_operator_runs(stage: Stage) -> None:
    stage.create_serving("iris", autoscaling=SCALED)
    cluster = stage.cluster
    stage.bench.scale_operator(0)
    try:
        cluster.delete("ModelDeployment", "iris")
        cluster.until(
            "the ModelDeployment is gone at once", lambda: cluster.get("ModelDeployment", "iris") is None, 5
        )
        label = "model-operator.io/deployment=iris"
        cluster.until(
            "nothing is left of it",
            lambda: not any(cluster.items(kind, label) for kind in (*CHILDREN, "Pod")),
        )
    finally:
        stage.bench.scale_operator(1)


@pytest.mark.full
def test_an_operator_killed_in_the_middle_of_a_revert_reverts_once(stage: Stage) -> None:
    stage.create_serving("iris")
    stage.alias("iris", LOAD_FAILS)
    cluster = stage.cluster
    cluster.until("a revert begins", lambda: cluster.status("iris").get("rejected"))
    stage.bench.kill_operator()
    rejection = cluster.until_rejected("iris", LOAD_FAILS)
    assert rejection["attempts"] == 1
    cluster.until("only version 1 is left", lambda: cluster.pod_versions("iris") == [GOOD])
    assert cluster.status("iris")["serving"]["version"] == GOOD


@pytest.mark.full
def test_a_rejection_is_remembered_when_the_status_is_wiped(stage: Stage) -> None:
    stage.create_serving("iris")
    stage.alias("iris", LOAD_FAILS)
    cluster = stage.cluster
    cluster.until_rejected("iris", LOAD_FAILS)
    cluster.until("only version 1 is left", lambda: cluster.pod_versions("iris") == [GOOD])
    deployment = cluster.get("Deployment", "iris")
    assert deployment

    cluster.patch("ModelDeployment", "iris", {"status": None}, "status")
    cluster.until_rejected("iris", LOAD_FAILS)
    assert cluster.status("iris")["serving"]["version"] == GOOD
    after = cluster.get("Deployment", "iris")
    assert after
    assert after["metadata"]["generation"] == deployment["metadata"]["generation"], "it was rolled out again"


@pytest.mark.full
def test_a_first_version_that_fails_says_so_and_is_replaced_by_the_next(stage: Stage) -> None:
    stage.create("iris", LOAD_FAILS)
    cluster = stage.cluster
    condition = cluster.until_condition("iris", "Ready", "False", "FirstVersionFailed")
    assert "no earlier version to revert to" in condition["message"]
    assert cluster.condition("iris", "Stalled")["status"] == "True"
    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)


@pytest.mark.full
def test_a_changed_and_restarted_operator_restarts_no_serving_pod(stage: Stage) -> None:
    stage.create_serving("iris")
    cluster = stage.cluster
    cluster.until_at_rest("iris")
    before = {pod["metadata"]["uid"] for pod in stage.bench.operator_pods()}
    with cluster.nothing_is_written(seconds=10):
        stage.bench.install_operator(stage.registry, poll_seconds=3)
    assert before.isdisjoint(pod["metadata"]["uid"] for pod in stage.bench.operator_pods())
    stage.bench.install_operator(stage.registry)
