"""The simulated cluster itself: a story proves nothing when Kubernetes does not behave like Kubernetes in it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.stories.controllers import Kubernetes
from tests.stories.pods import GOOD, Behaviour
from tests.stories.simulation import START

from model_operator.api import names
from model_operator.domain.objects import Kind
from model_operator.domain.world import Traffic

Json = dict[str, Any]


class Bench:
    """Controllers with objects made by hand, and a clock."""

    def __init__(self, **lives: Behaviour) -> None:
        self.objects: dict[tuple[Kind, str], Json] = {}
        self.k8s = Kubernetes(
            "churn", self.objects, itertools.count(1), lambda _, v: lives.get(f"v{v}", GOOD)
        )
        self.now = START

    def deploy(self, track: str, version: str, replicas: int, surge: Any = 1, unavailable: Any = 0) -> None:
        labels = {names.LABEL_TRACK: track, names.LABEL_REVISION: f"v{version}-x"}
        template = {
            "metadata": {"labels": labels, "annotations": {names.ANNOTATION_VERSION: version}},
            "spec": {"containers": [{"image": "server:1"}]},
        }
        spec = {
            "replicas": replicas,
            "template": template,
            "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
        }
        metadata = {"name": track, "generation": 1, "resourceVersion": "1"}
        self.objects[(Kind.DEPLOYMENT, track)] = {"metadata": metadata, "spec": spec, "status": {}}

    def serve(self, track: str) -> None:
        selector = {names.LABEL_TRACK: track}
        self.objects[(Kind.SERVICE, "churn")] = {
            "metadata": {"labels": {}},
            "spec": {"selector": selector},
        }

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += timedelta(seconds=1)
            while self.k8s.step(self.now):
                pass
            self.k8s.send_requests(self.now, 1)

    def reached(self) -> list[str]:
        return [pod.version for pod in self.k8s.reached(self.now)]

    def pod(self, index: int = 0) -> Mapping[str, Any]:
        return self.k8s.pods[index].as_object(self.now)


def serving_first(replicas: int, **lives: Behaviour) -> Bench:
    bench = Bench(**lives)
    bench.deploy("churn", "1", replicas)
    bench.serve("churn")
    bench.run(30)
    bench.k8s.requests_lost, bench.k8s.fewest_ready = 0, replicas
    return bench


def serving_two(**lives: Behaviour) -> Bench:
    return serving_first(2, **lives)


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "fewest"),
    [
        pytest.param(1, 0, 5, 4, id="one_more_and_none_less"),
        pytest.param(0, 1, 4, 3, id="none_more_and_one_less"),
        pytest.param("50%", 0, 6, 4, id="half_more"),
        pytest.param(0, "50%", 4, 2, id="half_less"),
        pytest.param(0, "100%", 4, 0, id="all_at_once"),
    ],
)
def test_a_deployment_rolls_within_its_limits(surge: Any, unavailable: Any, most: int, fewest: int) -> None:
    bench = serving_first(4)
    bench.deploy("churn", "2", 4, surge, unavailable)
    counts = []
    for _ in range(90):
        bench.run(1)
        counts.append(sum(pod.deleted is None for pod in bench.k8s.pods))
    assert bench.reached() == ["2"] * 4
    assert max(counts) == most
    # a pod that drains still answers until the proxies know
    assert bench.k8s.fewest_ready == fewest
    assert (bench.k8s.requests_lost > 0) == (fewest == 0)


def test_each_track_has_pods_of_its_own() -> None:
    bench = serving_two()
    bench.deploy("churn-green", "2", 3)
    bench.run(30)
    assert bench.reached() == ["1", "1"]
    bench.serve("churn-green")
    bench.run(1)
    assert bench.reached() == ["2", "2", "2"]
    del bench.objects[(Kind.DEPLOYMENT, "churn")]
    bench.run(10)
    assert [pod.version for pod in bench.k8s.pods] == ["2", "2", "2"]
    assert bench.k8s.requests_lost == 0


@pytest.mark.parametrize(("lag", "loses"), [(0, False), (4, False), (10, True)])
def test_a_track_that_goes_before_the_proxies_know_loses_requests(lag: float, loses: bool) -> None:
    bench = serving_two()
    bench.k8s.endpoints_lag = lag
    bench.deploy("churn-green", "2", 2)
    bench.run(40)
    bench.serve("churn-green")
    bench.deploy("churn", "1", 0)
    bench.run(30)
    assert bench.reached() == ["2", "2"]
    assert (bench.k8s.requests_lost > 0) == loses


def test_a_pod_that_is_deleted_drains_for_a_while() -> None:
    bench = serving_two()
    bench.deploy("churn", "1", 1)
    bench.run(1)
    leaving = [pod for pod in bench.k8s.pods if pod.deleted is not None]
    assert len(leaving) == 1
    assert leaving[0].as_object(bench.now)["metadata"]["deletionTimestamp"]
    conditions = [e["conditions"] for e in bench.k8s.slices()[0]["endpoints"]]
    assert {"ready": False, "serving": True, "terminating": True} in conditions
    bench.run(10)
    assert len(bench.k8s.pods) == 1


def test_a_server_that_dies_comes_back_and_dies_again() -> None:
    bench = serving_two(v1=Behaviour(dies_after=40, dies_with=137))
    bench.run(12)
    server = bench.pod()["status"]["containerStatuses"][0]
    assert server["restartCount"] == 1
    assert server["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert server["lastState"]["terminated"]["finishedAt"] == "2026-11-20T09:00:41Z"
    assert bench.reached() == []
    bench.run(10)
    assert bench.reached() == ["1", "1"]
    bench.run(5)
    server = bench.pod()["status"]["containerStatuses"][0]
    assert server["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert bench.k8s.requests_lost > 0


def test_a_pod_whose_node_is_lost_is_replaced_after_five_minutes() -> None:
    bench = serving_two()
    pod = bench.k8s.pods[0]
    pod.fare(Behaviour(node_lost_after=0), bench.now)
    bench.run(1)
    ready = next(c for c in bench.pod()["status"]["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "False"
    assert bench.pod()["status"]["containerStatuses"][0]["ready"] is True, "what the kubelet said last"
    assert ready["lastTransitionTime"] == "2026-11-20T09:00:30Z"
    assert len(bench.reached()) == 1
    bench.run(330)
    assert len(bench.reached()) == 2
    assert pod not in bench.k8s.pods
    assert bench.k8s.requests_lost == 0


def test_a_pod_that_is_evicted_is_replaced_at_once() -> None:
    bench = serving_two()
    bench.k8s.pods[0].fare(Behaviour(evicted_after=0), bench.now)
    bench.run(20)
    assert bench.pod()["status"]["reason"] == "Evicted"
    assert bench.reached() == ["1", "1"]


def test_a_pod_waits_for_room_until_another_is_gone() -> None:
    bench = serving_two()
    bench.k8s.room = 2
    bench.deploy("churn", "2", 2)
    bench.run(60)
    scheduled = next(c for c in bench.pod(2)["status"]["conditions"] if c["type"] == "PodScheduled")
    assert scheduled["reason"] == "Unschedulable"
    bench.deploy("churn", "2", 2, 0, 1)
    bench.run(60)
    assert bench.reached() == ["2", "2"]


def test_the_namespace_is_full() -> None:
    bench = serving_two()
    bench.k8s.quota = 2
    bench.deploy("churn", "2", 2)
    bench.run(30)
    assert bench.reached() == ["1", "1"]
    assert "exceeded quota" in bench.objects[(Kind.DEPLOYMENT, "churn")]["status"]["conditions"][0]["message"]


def test_the_autoscaler_scales_what_it_is_told_to() -> None:
    bench = serving_two()
    bench.deploy("churn-green", "2", 2)
    spec = {"scaleTargetRef": {"name": "churn-green"}, "minReplicas": 2, "maxReplicas": 4}
    bench.objects[(Kind.AUTOSCALER, "churn")] = {"metadata": {}, "spec": spec, "status": {}}
    bench.k8s.autoscaled = 9
    bench.run(30)
    assert bench.objects[(Kind.DEPLOYMENT, "churn")]["spec"]["replicas"] == 2
    assert bench.objects[(Kind.DEPLOYMENT, "churn-green")]["spec"]["replicas"] == 4


def test_the_requests_to_the_watched_revision_are_counted() -> None:
    bench = serving_two(v1=Behaviour(error_ratio=0.5))
    bench.k8s.requests_per_second = 10
    bench.k8s.watch("v1-x")
    bench.run(20)
    assert bench.k8s.traffic == Traffic(200, 100)
    bench.k8s.watch("v2-x")
    bench.run(20)
    assert bench.k8s.traffic == Traffic()
