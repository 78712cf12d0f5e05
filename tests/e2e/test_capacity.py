"""Where there is nothing to spare: one GPU, one budget, one node to drain."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.stage import BETTER, GOOD, SLOW, Stage
from tests.workbench import Load

GPU = "example.com/gpu"
BLUE_GREEN = {"strategy": "BlueGreen", "watchSeconds": 600}


@pytest.fixture
def one_gpu(stage: Stage) -> Iterator[Stage]:
    """A node with one device of an extended resource."""
    stage.bench.offer(GPU, 1)
    yield stage
    stage.bench.offer(GPU, 0)


def test_without_a_spare_gpu_a_rollout_waits_in_vain_or_states_the_outage_and_takes_it(
    one_gpu: Stage,
) -> None:
    cluster = one_gpu.cluster
    one_gpu.create_serving(
        "iris",
        server={"resources": {"requests": {"cpu": "50m"}, "limits": {GPU: 1}}},
        rollout={"schedulingSeconds": 3},
    )
    before = {pod["metadata"]["uid"] for pod in cluster.pods("iris")}
    one_gpu.alias("iris", BETTER)
    condition = cluster.until_condition("iris", "Current", "False", "InsufficientCapacity")
    assert f"the pod asks for {GPU}: 1 for server" in condition["message"]
    cluster.until("it is withdrawn", lambda: "Withdrawn" in {r for r, _ in cluster.events("iris")})
    cluster.until(
        "what served is untouched", lambda: {p["metadata"]["uid"] for p in cluster.pods("iris")} == before
    )
    assert "rejected" not in cluster.status("iris")
    assert cluster.status("iris")["readyReplicas"] == 1

    cluster.commit("iris", {"rollout": {"maxSurge": 0, "maxUnavailable": 1, "schedulingSeconds": None}})
    plan = cluster.until("a plan", lambda: cluster.status("iris").get("plan"))
    cluster.until("the plan is about the new commit", lambda: _no_spare(one_gpu))
    assert (plan["from"], plan["to"]) == (GOOD, BETTER)
    cluster.until_serving("iris", BETTER)
    assert "plan" not in cluster.status("iris")


def _no_spare(stage: Stage) -> bool:
    message = stage.cluster.status("iris").get("plan", {}).get("message", "")
    return "there is no spare" in message and "with a single pod nothing serves meanwhile" in message


@pytest.mark.full
@pytest.mark.parametrize(
    "rollout",
    [
        pytest.param({}, id="in the middle of a rolling update"),
        pytest.param(BLUE_GREEN, id="beside a candidate"),
    ],
)
def test_the_budget_lets_a_node_be_drained(stage: Stage, rollout: dict[str, object]) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", rollout=rollout)
    load = Load.start(cluster, "iris", rate=5)
    stage.alias("iris", SLOW)
    cluster.until("the slow version loads", lambda: SLOW in cluster.pod_versions("iris"))
    names = {pod["metadata"]["name"] for pod in cluster.pods("iris")}
    assert len(names) == 2
    assert {cluster.evict(name, only_try=True) for name in names} == {201}

    (loading,) = [
        pod["metadata"]["name"]
        for pod in cluster.pods("iris")
        if pod["metadata"]["annotations"]["model-operator.io/version"] == SLOW
    ]
    assert cluster.evict(loading) == 201
    status = cluster.until_serving("iris", SLOW)
    assert "rejected" not in status, "an eviction is nobody's fault"
    cluster.until("the old version answers no more", lambda: SLOW in load.counters().answered)
    counted = load.stop()
    assert counted.failed == 0, counted.failures


@pytest.mark.full
def test_a_served_pod_that_is_evicted_or_deleted_in_the_watch_comes_back_without_blame(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", replicas=2, rollout={"watchSeconds": 600})
    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)
    cluster.until_at_rest("iris")
    first, second = (pod["metadata"]["name"] for pod in cluster.pods("iris"))
    assert cluster.evict(first) == 201
    cluster.until(
        "another pod takes its place",
        lambda: (
            cluster.status("iris").get("readyReplicas") == 2
            and first not in {p["metadata"]["name"] for p in cluster.pods("iris")}
        ),
    )
    cluster.delete("Pod", second, gracePeriodSeconds=0)
    cluster.until(
        "another pod takes its place",
        lambda: (
            cluster.status("iris").get("readyReplicas") == 2
            and second not in {p["metadata"]["name"] for p in cluster.pods("iris")}
        ),
    )
    status = cluster.status("iris")
    assert status["serving"]["version"] == BETTER
    assert "rejected" not in status
