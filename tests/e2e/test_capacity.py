"""Where there is nothing to spare: one GPU, one budget, one node to drain."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.stage import BETTER, GOOD, SLOW, STALLS, Stage
from tests.workbench import Load

GPU = "example.com/gpu"
FLOWER_COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
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
    assert f"the pod requests {GPU}: 1 for server" in condition["message"]
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
    return "there are no extra pods" in message and "With a single pod, nothing serves meanwhile" in message


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
    # from then on its end takes a while, in which the operator can look at it
    cluster.until("its server has started", lambda: _server_runs(cluster.get("Pod", loading)))
    assert cluster.evict(loading) == 201
    condition = cluster.until_condition("iris", "Current", "False", "Evicted")
    assert "the pod was evicted or refused" in condition["message"]
    status = cluster.until_serving("iris", SLOW)
    assert "rejected" not in status, "an eviction is nobody's fault"
    cluster.until("the old version answers no more", lambda: SLOW in load.counters().answered)
    counted = load.stop()
    assert counted.failed == 0, counted.failures


def _server_runs(pod: dict[str, Any] | None) -> bool:
    containers = pod["status"].get("containerStatuses", []) if pod else []
    return any("running" in container["state"] for container in containers)


@pytest.mark.full
def test_a_node_that_falls_silent_in_the_watch_is_not_the_versions_fault(stage: Stage) -> None:
    cluster = stage.cluster
    stage.create_serving("iris", rollout={"watchSeconds": 600})
    stage.alias("iris", BETTER)
    cluster.until_serving("iris", BETTER)
    cluster.until_at_rest("iris")
    before = {pod["metadata"]["uid"] for pod in cluster.pods("iris")}
    with stage.bench.provider.silence():
        # the node controller notices after 40 to 50 s
        condition = cluster.until_condition("iris", "Ready", "False", "PodsUnavailable")
        assert "the pod's node went away" in condition["message"]
        cluster.until("it rests", lambda: unwritten(stage))
    cluster.until_condition("iris", "Ready", "True", "Serving")
    status = cluster.status("iris")
    assert status["serving"]["version"] == BETTER
    assert "rejected" not in status
    assert {pod["metadata"]["uid"] for pod in cluster.pods("iris")} == before


def unwritten(stage: Stage) -> bool:
    """Whether nothing was written for longer than the watch is patient with a pod that does not answer."""
    before = stage.cluster.resource_versions("iris")
    time.sleep(35)
    return stage.cluster.resource_versions("iris") == before


@pytest.mark.full
def test_readiness_that_is_lost_to_too_many_requests_only_warns(stage: Stage) -> None:
    cluster = stage.cluster
    # idle pods use more than that, so the autoscaler wants more than it may have
    scaled = {"minReplicas": 2, "maxReplicas": 2, "targetCPUUtilizationPercentage": 1}
    patient = {
        "readiness": {"periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 1},
        "liveness": {"failureThreshold": 30},
    }
    stage.create_serving(
        "iris",
        autoscaling=scaled,
        server={"resources": {"requests": {"cpu": "50m"}}, "probes": patient},
        rollout={"watchSeconds": 600},
    )
    stage.alias("iris", STALLS)
    cluster.until_serving("iris", STALLS)
    cluster.until("the autoscaler is held at its maximum", lambda: held_at_maximum(stage))
    busy = cluster.pods("iris")[0]["metadata"]["name"]
    flower = {"dataframe_split": {"columns": FLOWER_COLUMNS, "data": [[5.1, 3.5, 1.4, 0.2]]}}
    with contextlib.suppress(httpx.TimeoutException):
        for _ in range(20):
            if cluster.through("Pod", busy, 8080, "/invocations", flower).status_code != 200:
                break
    condition = cluster.until_condition("iris", "Ready", "True", "Saturated")
    assert "more requests than its pods can handle" in condition["message"]
    cluster.until_condition("iris", "Ready", "True", "Serving")
    status = cluster.status("iris")
    assert status["serving"]["version"] == STALLS
    assert "rejected" not in status
    restarts = [c["restartCount"] for p in cluster.pods("iris") for c in p["status"]["containerStatuses"]]
    assert restarts == [0, 0]


def held_at_maximum(stage: Stage) -> bool:
    found = stage.cluster.get("HorizontalPodAutoscaler", "iris") or {}
    conditions = found.get("status", {}).get("conditions", [])
    return any(c["type"] == "ScalingLimited" and c["reason"] == "TooManyReplicas" for c in conditions)


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
